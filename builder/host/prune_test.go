package host

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// TestFirstReleaseTakenBack switches a first release on and off again: of what
// it has put into shared only what may be data stays.
func TestFirstReleaseTakenBack(t *testing.T) {
	for script, stays := range map[string]bool{
		"true": false, "mkdir media/empty": false, "echo data > media/empty": true, "ln -s nowhere media/link": true,
		"mkdir -p media/a/b && echo x > media/a/b/c": true, "mkdir -m 0 media/closed": os.Geteuid() != 0,
	} {
		r := newRig(t)
		s := r.stage(1, nil)
		s.App.Deploy.Shared = []string{"media", "deep/er/up"}
		s.App.Build.Postinstall = script
		s.Services = nil
		r.mustStage(s)
		if err := errors.Join(r.switchTo(1, 0, 1), r.switchTo(2, 1, 0), r.Discard(t.Context(), r.ref(1))); err != nil {
			t.Fatalf("%s: %v", script, err)
		}
		app := filepath.Join(r.o.Root, "shop")
		if left := !gone(app); left != stays {
			t.Errorf("%s: is the app left? %v", script, left)
		}
		if stays && gone(filepath.Join(app, "shared/deep/er/up")) {
			t.Errorf("%s: where there is data, all stays", script)
		}
	}
}
