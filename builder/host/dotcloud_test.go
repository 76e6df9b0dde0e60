package host

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"slipway/builder"
	"slipway/config"
)

// An app that knows its home by dotCloud's names and paths finds all of them, in
// its build, in a command, and in a release that has the build of another.
func TestDotCloudHome(t *testing.T) {
	r := newRig(t)
	const look = `set -e
grep -c '"HOME"' $HOME/environment.json
cat ~/current/here ~/code/web/here
python -c 'import os, sys; print(os.path.basename(sys.prefix), os.path.isdir(sys.base_prefix + "/lib"))'
echo "$DOTCLOUD_SERVICE_NAME $DOTCLOUD_SERVICE_ID"
echo more >> ~/data/kept
touch ~/volatile/x
`
	paths := `
cat /home/dotcloud/current/here
grep -c '"HOME"' /home/dotcloud/environment.json
ls /home
echo x > /home/dotcloud/data/x
touch /home/other 2>/dev/null || echo shut
`
	stage := func(n, build int, files map[string]string) builder.Stage {
		s := r.stage(n, files)
		s.Build = build
		s.App.DotCloud = &config.DotCloud{Service: "www", Approot: "web"}
		return s
	}
	if !Probe().Mounts {
		paths = ""
	}
	files := map[string]string{"web/here": "here\n", "postinstall": "#!/bin/sh\n" + look + paths}
	want := "1\nhere\nhere\nenv True\nwww 0\n"
	if paths != "" {
		want += "here\n1\ndotcloud\nshut\n"
	}
	first := stage(1, 1, files)
	if out := r.mustStage(first); out != want {
		t.Errorf("the build: got\n%swant\n%s", out, want)
	}
	second := stage(2, 1, nil)
	r.mustStage(second)
	if err := r.switchTo(1, 0, 2); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	exit, err := r.Run(t.Context(), second, []string{"sh", "-c", look + paths}, builder.Stdio{Out: &out, Err: &out}, nil)
	if err != nil || exit != 0 || out.String() != want {
		t.Errorf("a command: exit %d, %v, got\n%swant\n%s", exit, err, out.String(), want)
	}
	kept, err := os.ReadFile(filepath.Join(r.o.Root, "shop", "shared", "data", "kept"))
	if err != nil || string(kept) != "more\nmore\n" {
		t.Errorf("~/data: %q, %v", kept, err)
	}
}

// Other apps have none of it.
func TestNoDotCloudHome(t *testing.T) {
	r := newRig(t)
	out := r.mustStage(r.stage(1, map[string]string{"postinstall": "#!/bin/sh\nls -A $HOME; echo $PATH; [ -e /home/dotcloud ] || echo none"}))
	if want := ".cache\nenvironment.json\n" + searchPath + "\nnone\n"; out != want {
		t.Errorf("got\n%swant\n%s", out, want)
	}
}
