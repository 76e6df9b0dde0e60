package hooks

import (
	"context"
	"encoding/json"
	"slices"

	"slipway/config"
	"slipway/hooks/submodule"
	"slipway/store"
)

// Plan resolves commit ("" is the one that is live), fetching what it must, and
// says what differs from the live release.
func (s *Server) Plan(ctx context.Context, by store.Caller, ae config.AppEnv, commit string) (PlanView, error) {
	v := PlanView{AppEnv: ae}
	if err := s.May(by, ae); err != nil {
		return v, err
	}
	var err error
	if v.Live, err = s.o.Store.LiveRelease(ctx, ae); err != nil {
		return v, err
	}
	switch {
	case commit != "":
		v.Commit, err = s.commit(ctx, ae, commit)
	case v.Live == nil:
		err = noRelease(ae)
	default:
		v.Commit = v.Live.Commit
	}
	if err != nil {
		return v, err
	}
	cfg := s.o.Config()
	d := &deploy{s: s, ae: ae, cfg: cfg, env: cfg.Environments[ae.Env()], commit: v.Commit, live: v.Live}
	d.repo = openRepository(ctx, d.gitDir(), nil)
	defer d.repo.close()
	if v.Title, err = d.repo.title(ctx, v.Commit); err != nil {
		return v, err
	}
	if err := d.readApp(); err != nil {
		return v, err
	}
	v.Settings, v.Notes = d.app.From, notesText(d.app, d.notes)
	base, err := d.base(ctx)
	if err != nil {
		return v, err
	}
	res, err := s.o.Resolver.Resolve(ctx, submodule.Request{
		AppEnv: ae, Repo: submodule.Repo{Dir: d.gitDir()}, Commit: v.Commit, Upstream: base, Skip: d.app.Submodules.Skip,
	})
	if res.Close != nil {
		defer res.Close()
	}
	if err != nil && len(res.Reports) == 0 {
		return v, err
	}
	v.fill(res)
	return v, nil
}

func (v *PlanView) fill(res submodule.Result) {
	old := map[string]store.OID{}
	if v.Live != nil {
		for _, m := range v.Live.Plan.Modules {
			old[m.Path] = m.Commit
		}
	}
	for _, r := range res.Reports {
		if r.State == submodule.Skipped {
			v.Skipped = append(v.Skipped, r.Path)
			continue
		}
		m := PlannedModule{Module: r.Module, Live: old[r.Path], Cached: r.State == submodule.Cached, Source: r.Source}
		if r.Err != nil {
			m.Error = r.Err.Error()
		}
		v.Modules = append(v.Modules, m)
	}
	// What changed comes first; the rest stays in the order of paths.
	slices.SortStableFunc(v.Modules, func(a, b PlannedModule) int {
		return unchanged(a) - unchanged(b)
	})
	v.Removed = removedModules(res, v.Live)
}

func unchanged(m PlannedModule) int {
	if m.Error == "" && m.Live == m.Commit {
		return 1
	}
	return 0
}

// record is a release's manifest, as it lies beside it on the target.
type record struct {
	App     string             `json:"app"`
	Env     string             `json:"env"`
	Number  int                `json:"number"`
	Build   int                `json:"build"`
	Commit  store.OID          `json:"commit"`
	Ref     string             `json:"ref"`
	Title   string             `json:"title"`
	State   store.State        `json:"state"`
	Reason  store.Reason       `json:"reason"`
	By      string             `json:"by"`
	Created string             `json:"created"`
	Modules []store.Module     `json:"modules"`
	Tree    store.TreeInfo     `json:"tree"`
	Seconds map[string]float64 `json:"seconds"`
}

func manifestOf(r store.Release, state store.State) ([]byte, error) {
	modules := r.Plan.Modules
	if modules == nil {
		modules = []store.Module{}
	}
	text, err := json.MarshalIndent(record{
		App: r.AppEnv.App().String(), Env: r.AppEnv.Env().String(), Number: r.Number, Build: r.Build, Commit: r.Commit,
		Ref: r.Ref, Title: r.Title, State: state, Reason: r.Reason, By: r.By, Created: r.Created.UTC().Format("2006-01-02T15:04:05Z07:00"),
		Modules: modules, Tree: r.Tree, Seconds: r.Steps,
	}, "", "  ")
	return append(text, '\n'), err
}
