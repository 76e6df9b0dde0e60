// Command layers checks that Slipway's rooms import in one direction only:
// cmd, receiver, hooks, builder, store, config; each knows only those after it.
package main

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

const module = "slipway"

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: layers DIR")
		os.Exit(2)
	}
	bad, err := check(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
	for _, line := range bad {
		fmt.Println(line)
	}
	if len(bad) > 0 {
		os.Exit(1)
	}
}

// check returns one line for each import below root that goes against the
// order. Tests are free: they may stand a whole server up.
func check(root string) (bad []string, err error) {
	rooms := []string{"cmd", "receiver", "hooks", "builder", "store", "config"}
	// Modules with traps of their own stay behind one door.
	doors := map[string]string{"github.com/gliderlabs/ssh": "receiver"}

	for at, room := range rooms {
		err := filepath.WalkDir(filepath.Join(root, room), func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			set := token.NewFileSet()
			file, err := parser.ParseFile(set, path, nil, parser.ImportsOnly)
			if err != nil {
				return err
			}
			for _, spec := range file.Imports {
				name, err := strconv.Unquote(spec.Path.Value)
				if err != nil {
					return err
				}
				where := set.Position(spec.Pos())
				if door, ok := doors[name]; ok && door != room {
					bad = append(bad, fmt.Sprintf("%s: only %s may import %s", where, door, name))
				}
				below, ours := strings.CutPrefix(name, module+"/")
				if !ours {
					continue
				}
				other, _, _ := strings.Cut(below, "/")
				switch to := slices.Index(rooms, other); {
				case to < 0:
					bad = append(bad, fmt.Sprintf("%s: %s is no room", where, name))
				case to < at:
					bad = append(bad, fmt.Sprintf("%s: %s may not import %s", where, room, name))
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return bad, nil
}
