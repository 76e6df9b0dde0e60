package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"slipway/builder"
	"slipway/config"
	"slipway/receiver"
	"slipway/store"
)

// TestRights runs every command for every kind of caller. What may be run
// fails here for other reasons, or does not; what may not always ends with 3,
// and in the audit log.
func TestRights(t *testing.T) {
	o := newOffice(t)
	callers := map[string]store.Caller{
		"local":   onServer,
		"admin":   o.key("admin", "--admin"),
		"owner":   o.key("owner", "--admin", "--allow", "*/prod"),
		"dev":     o.key("dev", "--allow", "shop/dev"),
		"all":     o.key("all", "--allow", "*/*"),
		"release": o.key("release", "--allow", "shop/prod"),
		"other":   o.key("other", "--allow", "blog/*"),
		"nobody":  o.key("nobody"),
	}
	const (
		anyone  = "local admin owner dev all release other nobody"
		admins  = "local admin owner"
		onDev   = "local admin owner dev all"
		onProd  = "local owner release"
		onStage = "local admin owner all"
	)
	covered := map[string]bool{}
	for _, l := range []struct {
		line string
		may  string
	}{
		{"help", anyone},
		{"help key add", anyone},
		{"version", anyone},
		{"completion bash", anyone},
		{"app list", anyone},
		{"app destroy shop", admins},
		{"app destroy", admins},
		{"key add x", admins},
		{"key add", admins},
		{"key list", admins},
		{"key remove nosuch", admins},
		{"key attempts", admins},
		{"doctor", admins},
		{"doctor --nonsense", admins},
		{"cache list", admins},
		{"cache verify", admins},
		{"cache prune", admins},
		{"audit", admins},
		{"audit verify", admins},
		{"audit shop/dev", onDev},
		{"audit shop/prod", onProd + " admin"},
		{"vars list shop/dev", onDev},
		{"vars list shop/dev --reveal", onDev},
		{"vars list shop/prod --reveal", onProd},
		{"vars set shop/dev bad-name=1", onDev},
		{"vars set shop/prod bad-name=1", onProd},
		{"vars unset shop/dev NOSUCH", onDev},
		{"service list shop/dev", onDev},
		{"host list shop/dev", onDev},
		{"host sync shop/prod", onProd},
		{"service rotate shop/prod db", onProd},
		{"releases shop/dev", onDev},
		{"releases shop/prod", onProd},
		{"show shop/dev", onDev},
		{"plan shop/dev", onDev},
		{"rollback shop/dev 99", onDev},
		{"rollback shop/prod", onProd},
		{"redeploy shop/staging", onStage},
		{"promote shop/dev staging", onStage},
		{"promote shop/staging shop/dev", onStage},
		{"promote shop/dev prod", "local owner"},
		{"promote shop/prod dev", "local owner"},
		{"cancel shop/dev", onDev},
		{"lock shop/staging", onStage},
		{"lock shop/prod", onProd},
		{"unlock shop/staging", onStage},
		{"logs shop/dev", onDev},
		{"logs shop/prod", onProd},
		{"run shop/dev -- true", onDev},
		{"run shop/prod -- true", onProd},
		{"init", "local"},
		{"serve", "local"},
		{"config check", "local"},
		{"backup relative", "local"},
		{"restore", "local"},
	} {
		words := strings.Fields(l.line)
		covered[words[0]] = true
		for name, who := range callers {
			before, err := o.store.Events(t.Context(), "", 1)
			check(t, err)
			r := o.do(who, "", words...)
			may := strings.Contains(" "+l.may+" ", " "+name+" ")
			hidden := name != "local" && l.may == "local" // unknown to who cannot type it
			switch {
			case hidden && r.Status != int(config.Usage):
				t.Errorf("%s: %s: %+v, want unknown", name, l.line, r)
			case !hidden && may == (r.Status == int(config.Denied)):
				t.Errorf("%s: %s: %+v, may: %v", name, l.line, r, may)
			}
			if may || hidden {
				continue
			}
			if !strings.HasPrefix(r.Err, "error: ") || !strings.Contains(r.Err, "\nhint: ") || r.Out != "" {
				t.Errorf("%s: %s: %+v, want an error and a hint alone", name, l.line, r)
			}
			after, err := o.store.Events(t.Context(), "", 1)
			check(t, err)
			if len(after) == 0 || len(before) > 0 && after[0].Seq != before[0].Seq+1 {
				t.Errorf("%s: %s: the refusal is not in the audit log", name, l.line)
				continue
			}
			e := after[0]
			if e.By != who.Name || e.Fingerprint != who.Fingerprint || e.Addr != who.Addr || !strings.HasPrefix(l.line, e.Action) || e.Result == "ok" {
				t.Errorf("%s: %s: audited as %+v", name, l.line, e)
			}
		}
	}
	for _, row := range table() {
		if !covered[row.name] {
			t.Errorf("%s is not in the table of rights", row.name)
		}
	}
}

// TestGitRights runs both git services for every kind of caller: who may not is
// told so as git clients read it, and the audit log has it.
func TestGitRights(t *testing.T) {
	o := newOffice(t)
	o.seed("shop/dev")
	check(t, os.MkdirAll(filepath.Join(o.dir, "repos"), 0o700))
	callers := map[string]store.Caller{
		"admin":   o.key("admin", "--admin"),
		"owner":   o.key("owner", "--admin", "--allow", "*/prod"),
		"dev":     o.key("dev", "--allow", "shop/dev"),
		"all":     o.key("all", "--allow", "*/*"),
		"release": o.key("release", "--allow", "shop/prod"),
		"other":   o.key("other", "--allow", "blog/*"),
		"nobody":  o.key("nobody"),
	}
	ops := o.key("dev")
	ops.Certificate = "certificate dev@corp serial 7"
	callers["certified"] = ops
	serve := receiver.ServeGit(o.hooks)
	for _, l := range []struct{ repo, may string }{
		{"shop/dev", "admin owner dev certified all"},
		{"shop/staging", "admin owner all"},
		{"shop/prod", "owner release"},
		{"blog/dev", "admin owner all other"},
		{"blog/prod", "owner"},
		{"shop/nosuch", ""},
	} {
		for name, who := range callers {
			for _, service := range []receiver.Service{receiver.ReceivePack, receiver.UploadPack} {
				before, err := o.store.Events(t.Context(), "", 1)
				check(t, err)
				var out, errs bytes.Buffer
				// A client that hangs up at once; who may is answered first.
				status := serve(t.Context(), receiver.GitRequest{Caller: who, Service: service, Repo: appEnv(t, l.repo)},
					builder.Stdio{In: strings.NewReader(""), Out: &out, Err: &errs})
				may := strings.Contains(" "+l.may+" ", " "+name+" ")
				refused := status == int(config.Denied) || l.repo == "shop/nosuch" && status == int(config.NotFound)
				if may == refused {
					t.Errorf("%s: %s %s: %d %q %q, may: %v", name, service, l.repo, status, out.String(), errs.String(), may)
				}
				if may {
					continue
				}
				if !strings.Contains(out.String(), "ERR ") {
					t.Errorf("%s: %s %s: a git client reads %q", name, service, l.repo, out.String())
				}
				after, err := o.store.Events(t.Context(), "", 1)
				check(t, err)
				if after[0].Seq != before[0].Seq+1 || after[0].By != who.Name || after[0].AppEnv != l.repo || after[0].Result == "ok" ||
					after[0].Action != map[receiver.Service]string{receiver.ReceivePack: "push", receiver.UploadPack: "fetch"}[service] {
					t.Errorf("%s: %s %s: audited as %+v", name, service, l.repo, after[0])
				}
			}
		}
	}
}

// Every row says enough to be used.
func TestTable(t *testing.T) {
	var walk func(path string, rows []command)
	walk = func(path string, rows []command) {
		for _, r := range rows {
			name := strings.TrimSpace(path + " " + r.name)
			if r.short == "" || strings.HasSuffix(r.short, ".") {
				t.Errorf("%s: short %q", name, r.short)
			}
			if r.run == nil && len(r.sub) == 0 && !r.local {
				t.Errorf("%s does nothing", name)
			}
			if (r.who == deployer) && r.min == 0 {
				t.Errorf("%s names no APP/ENV", name)
			}
			if r.max >= 0 && r.max < r.min {
				t.Errorf("%s takes %d to %d arguments", name, r.min, r.max)
			}
			walk(name, r.sub)
		}
	}
	walk("", table())
}
