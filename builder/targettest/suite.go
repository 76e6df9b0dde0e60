package targettest

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"slipway/builder"
	"slipway/config"
)

// Place is a target with its root on this machine, so that a test can look.
type Place struct {
	Target builder.Target
	Roots  []string // one for each host
}

// Run runs the suite; open makes a target whose roots are empty. The test's
// program must be one that can start a sandbox.
func Run(t *testing.T, open func(t *testing.T) Place) {
	for name, test := range map[string]func(*testing.T, *rig){
		"FromTreeToLiveAndAway":     fromTreeToLive,
		"Postinstall":               postinstall,
		"VarsAlone":                 varsAlone,
		"SwitchIsFenced":            fenced,
		"CancelEndsTheBuild":        cancelled,
		"PruneKeepsWhatIsNeeded":    pruned,
		"SweepRemovesUnknownApps":   swept,
		"RunGivesStatusAndStreams":  run,
		"DiscardLeavesNothing":      discarded,
		"DoctorAndStatus":           doctor,
		"SecondTreeDiffersInOneWay": second,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, newRig(t, open(t)))
		})
	}
}

type rig struct {
	Place
	t   *testing.T
	ae  config.AppEnv
	out bytes.Buffer
}

func newRig(t *testing.T, p Place) *rig {
	ae, err := config.ParseAppEnv("shop/prod")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Target.Close(); err != nil {
			t.Error(err)
		}
	})
	return &rig{Place: p, t: t, ae: ae}
}

func (r *rig) ref(n int) builder.Ref { return builder.Ref{AppEnv: r.ae, Number: n} }

func (r *rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatalf("%v\n%s", err, r.out.String())
	}
}

// place has a release laid out, ready to be staged.
func (r *rig) place(n int, tree *Tree) builder.Stage {
	r.t.Helper()
	_, err := r.Target.Place(r.t.Context(), r.ref(n), tree)
	r.must(err)
	s := builder.Stage{Ref: r.ref(n), Build: n, Commit: "1234567812345678123456781234567812345678", App: &config.AppFile{}}
	s.App.Build.Timeout, s.App.Build.Network = time.Minute, true
	return s
}

// live makes a release live.
func (r *rig) live(n int, files map[string]string) builder.Stage {
	r.t.Helper()
	s := r.place(n, &Tree{Files: files})
	r.must(r.Target.Stage(r.t.Context(), s, &r.out))
	r.activate(int64(n), n-1, n)
	return s
}

func (r *rig) activate(generation int64, from, to int) {
	r.t.Helper()
	r.must(r.Target.Activate(r.t.Context(), builder.Switch{AppEnv: r.ae, Generation: generation, From: from, To: to}))
}

// each looks at every host's root.
func (r *rig) each(look func(root string)) {
	for _, root := range r.Roots {
		look(root)
	}
}

func (r *rig) hasText(path, want string) {
	r.t.Helper()
	r.each(func(root string) {
		text, err := os.ReadFile(filepath.Join(root, path))
		if err != nil || string(text) != want {
			r.t.Errorf("%s: %q, %v; want %q", path, text, err, want)
		}
	})
}

func (r *rig) isGone(path string) {
	r.t.Helper()
	r.each(func(root string) {
		if _, err := os.Lstat(filepath.Join(root, path)); !os.IsNotExist(err) {
			r.t.Errorf("%s is there: %v", path, err)
		}
	})
}

func fromTreeToLive(t *testing.T, r *rig) {
	s := r.place(1, &Tree{Files: map[string]string{"a/b/c": "deep", "postinstall": "#!/bin/sh\necho built > made\n"}})
	s.App.Deploy.Release, s.App.Deploy.Restart = "echo once >> once", "echo again"
	s.App.Deploy.Health = config.Health{Command: "test -e made && echo well", Timeout: time.Minute}
	r.must(r.Target.Stage(t.Context(), s, &r.out))
	r.must(r.Target.RunOnce(t.Context(), s, &r.out))
	r.must(r.Target.Health(t.Context(), s, &r.out))
	r.must(r.Target.Record(t.Context(), r.ref(1), []byte("{}\n")))
	r.activate(1, 0, 1)
	r.must(r.Target.Restart(t.Context(), s, &r.out))
	r.hasText("shop/current/made", "built\n")
	r.hasText("shop/current/a/b/c", "deep")
	r.hasText("shop/releases/1.json", "{}\n")
	for i, root := range r.Roots {
		_, err := os.Stat(filepath.Join(root, "shop/current/once"))
		if (i == 0) != (err == nil) {
			t.Errorf("release ran on host %d: %v", i, err)
		}
	}
	for _, want := range []string{"well\n", "again\n"} {
		if n := strings.Count(r.out.String(), want); n != len(r.Roots) {
			t.Errorf("%d times %q in\n%s", n, want, r.out.String())
		}
	}
	r.must(r.Target.Destroy(t.Context(), r.ae))
	r.isGone("shop")
}

func postinstall(t *testing.T, r *rig) {
	s := r.place(1, &Tree{Files: map[string]string{"postinstall": "#!/bin/sh\n" +
		"echo \"$SLIPWAY_HOST $SLIPWAY_RELEASE $GREETING\"\ncat \"$HOME/environment.json\" | grep -c GREETING\nexit 3\n"}})
	s.Vars = map[string]config.Secret{"GREETING": config.NewSecret("hello \"you\"\n$HOME")}
	err := r.Target.Stage(t.Context(), s, &r.out)
	var exit *builder.ExitError
	if !errors.As(err, &exit) || exit.Status != 3 || exit.Step != "postinstall" {
		t.Errorf("stage: %v", err)
	}
	if !strings.Contains(r.out.String(), "1 hello \"you\"\n") || !strings.Contains(r.out.String(), "$HOME\n") {
		t.Errorf("output:\n%s", r.out.String())
	}
	s.App.Build.Timeout = 100 * time.Millisecond
	s = r.place(2, &Tree{Files: map[string]string{"postinstall": "#!/bin/sh\nsleep 300 & sleep 300\n"}})
	s.App.Build.Timeout = 100 * time.Millisecond
	var late *builder.TimeoutError
	if err := r.Target.Stage(t.Context(), s, &r.out); !errors.As(err, &late) {
		t.Errorf("out of time: %v", err)
	}
}

func varsAlone(t *testing.T, r *rig) {
	s := r.live(1, map[string]string{"f": "1"})
	s.Number, s.Vars = 2, map[string]config.Secret{"A": config.NewSecret("b")}
	r.must(r.Target.Stage(t.Context(), s, &r.out))
	r.activate(2, 1, 2)
	exit, err := r.Target.Run(t.Context(), s, []string{"sh", "-c", `echo "$A"; cat f`}, builder.Stdio{Out: &r.out, Err: &r.out}, nil)
	if exit != 0 || err != nil || r.out.String() != "b\n1" {
		t.Errorf("run: %d %v %q", exit, err, r.out.String())
	}
}

func fenced(t *testing.T, r *rig) {
	r.live(1, map[string]string{"f": "1"})
	s := r.place(2, &Tree{Files: map[string]string{"f": "2"}})
	r.must(r.Target.Stage(t.Context(), s, &r.out))
	r.activate(5, 1, 2)
	r.activate(5, 1, 2) // once more is no error
	err := r.Target.Activate(t.Context(), builder.Switch{AppEnv: r.ae, Generation: 4, From: 2, To: 1})
	if err == nil || !strings.Contains(err.Error(), "overtaken") {
		t.Errorf("an old generation: %v", err)
	}
	r.hasText("shop/current/f", "2")
	r.activate(6, 2, 1)
	r.hasText("shop/current/f", "1")
}

func cancelled(t *testing.T, r *rig) {
	s := r.place(1, &Tree{Files: map[string]string{"postinstall": "#!/bin/sh\necho begun\nsleep 300 & sleep 300\n"}})
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("cancelled by maria")
	began := time.Now()
	err := r.Target.Stage(ctx, s, writerFunc(func(b []byte) (int, error) {
		if bytes.Contains(b, []byte("begun")) {
			cancel(why)
		}
		return len(b), nil
	}))
	if !errors.Is(err, why) {
		t.Errorf("stage: %v", err)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %s to end", took)
	}
	r.must(r.Target.Discard(t.Context(), r.ref(1)))
	r.isGone("shop/releases/1")
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

func pruned(t *testing.T, r *rig) {
	for n := 1; n <= 4; n++ {
		r.live(n, map[string]string{"f": strings.Repeat("x", n), "same": "same"})
	}
	removed, err := r.Target.Prune(t.Context(), r.ae, []int{3})
	r.must(err)
	if len(removed) != 2 || removed[0] != 1 || removed[1] != 2 {
		t.Errorf("removed: %v", removed)
	}
	r.isGone("shop/releases/2")
	r.hasText("shop/current/f", "xxxx")
	r.hasText("shop/releases/3/same", "same")
}

func swept(t *testing.T, r *rig) {
	r.live(1, map[string]string{"f": "1"})
	other, err := config.ParseAppEnv("other/prod")
	r.must(err)
	_, err = r.Target.Place(t.Context(), builder.Ref{AppEnv: other, Number: 1}, &Tree{Files: map[string]string{"f": "1"}})
	r.must(err)
	sweeper, ok := r.Target.(interface {
		Sweep(context.Context, config.Env, []config.AppEnv) error
	})
	if !ok {
		t.Fatal("it cannot sweep")
	}
	r.must(sweeper.Sweep(t.Context(), r.ae.Env(), []config.AppEnv{r.ae}))
	r.isGone("other")
	r.hasText("shop/current/f", "1")
}

func run(t *testing.T, r *rig) {
	s := r.live(1, map[string]string{"f": "1"})
	var out, errs bytes.Buffer
	exit, err := r.Target.Run(t.Context(), s, []string{"sh", "-c", "cat; echo err >&2; exit 7"},
		builder.Stdio{In: strings.NewReader("from here"), Out: &out, Err: &errs}, nil)
	if exit != 7 || err != nil || out.String() != "from here" || errs.String() != "err\n" {
		t.Errorf("run: %d %v %q %q", exit, err, out.String(), errs.String())
	}
	out.Reset()
	exit, err = r.Target.Run(t.Context(), s, []string{"sh", "-c", "stty size; echo $TERM"},
		builder.Stdio{In: strings.NewReader(""), Out: &out, Err: &errs}, &builder.Terminal{Term: "vt100", Rows: 30, Columns: 70})
	if exit != 0 || err != nil || out.String() != "30 70\r\nvt100\r\n" {
		t.Errorf("run on a terminal: %d %v %q", exit, err, out.String())
	}
	if _, err := r.Target.Run(t.Context(), s, []string{"./nothing"}, builder.Stdio{Out: &out, Err: &errs}, nil); err == nil {
		t.Error("a command that is not there ran")
	}
}

func discarded(t *testing.T, r *rig) {
	s := r.place(1, &Tree{Files: map[string]string{"f": "1", "postinstall": "#!/bin/sh\nexit 1\n"}})
	if err := r.Target.Stage(t.Context(), s, &r.out); err == nil {
		t.Error("a build that failed is staged")
	}
	r.must(r.Target.Discard(t.Context(), r.ref(1)))
	r.must(r.Target.Discard(t.Context(), r.ref(1)))
	r.isGone("shop")
	r.live(2, map[string]string{"f": "2"})
	if err := r.Target.Discard(t.Context(), r.ref(2)); err == nil {
		t.Error("what is live was discarded")
	}
}

func doctor(t *testing.T, r *rig) {
	r.live(1, map[string]string{"f": "1"})
	all, err := r.Target.Status(t.Context(), r.ae)
	r.must(err)
	if len(all) != len(r.Roots) {
		t.Errorf("status: %v", all)
	}
	for _, s := range all {
		if s.Live != 1 || s.Generation != 1 || s.Err != nil {
			t.Errorf("status: %+v", s)
		}
	}
	for _, c := range r.Target.Doctor(t.Context()) {
		if c.Level == "fail" {
			t.Errorf("doctor: %+v", c)
		}
	}
}

// second goes from one tree to another that has a file less, one more, one
// that is a directory now, and one that is changed.
func second(t *testing.T, r *rig) {
	first := map[string]string{"keep": "k", "gone/x": "g", "change": "1", "turn": "file"}
	r.live(1, first)
	_, err := r.Target.Prune(t.Context(), r.ae, []int{1})
	r.must(err)
	s := r.place(2, &Tree{
		Files:  map[string]string{"keep": "k", "new/y": "n", "change": "2", "turn/in": "dir"},
		Before: &Tree{Files: first},
	})
	r.must(r.Target.Stage(t.Context(), s, &r.out))
	r.activate(2, 1, 2)
	r.hasText("shop/current/keep", "k")
	r.hasText("shop/current/new/y", "n")
	r.hasText("shop/current/change", "2")
	r.hasText("shop/current/turn/in", "dir")
	r.isGone("shop/releases/2/gone")
	r.hasText("shop/releases/1/change", "1")
}
