package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCheck(t *testing.T) {
	for _, c := range []struct {
		name, file, imports string
		want                string // in the only line, "" is none
	}{
		{"right", "hooks/a.go", `"slipway/builder/host"`, ""},
		{"same room", "hooks/tree/a.go", `"slipway/hooks/socket"`, ""},
		{"left", "store/a.go", `"slipway/hooks"`, "store may not import slipway/hooks"},
		{"left of left", "config/a.go", `"slipway/cmd/slipway"`, "config may not import"},
		{"no room", "hooks/a.go", `"slipway/util"`, "slipway/util is no room"},
		{"door", "hooks/a.go", `"github.com/gliderlabs/ssh"`, "only receiver may import"},
		{"its door", "receiver/a.go", `"github.com/gliderlabs/ssh"`, ""},
		{"a test", "store/a_test.go", `"slipway/hooks"`, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := t.TempDir()
			for _, room := range []string{"cmd", "receiver", "hooks", "builder", "store", "config"} {
				if err := os.Mkdir(filepath.Join(root, room), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			path := filepath.Join(root, c.file)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte("package a\n\nimport _ "+c.imports+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
			bad, err := check(root)
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case c.want == "" && len(bad) != 0:
				t.Errorf("got %q, want none", bad)
			case c.want != "" && (len(bad) != 1 || !strings.Contains(bad[0], c.want)):
				t.Errorf("got %q, want one with %q", bad, c.want)
			}
		})
	}
}
