package tree

import (
	"errors"
	"strings"
)

// maxHops is how many links the kernel follows for one path.
const maxHops = 40

// checkInside refuses links that lead out of the tree, directly or through
// other links of the tree. Links that lead nowhere, or in circles, stay.
func (m *Manifest) checkInside(all []*loaded) error {
	links := map[string]string{}
	for _, e := range m.Entries {
		if e.Mode == Link {
			links[e.Path] = all[e.Part].blobs[e.Hash].target
		}
	}
	for _, e := range m.Entries {
		if e.Mode != Link {
			continue
		}
		if err := inside(links, e.Path); err != nil {
			part := all[e.Part].part
			path := e.Path
			if part.Path != "" {
				path = strings.TrimPrefix(path, part.Path+"/")
			}
			return refuse(part, path, "make it a relative link to a file of the tree", "%w", err)
		}
	}
	return nil
}

var errOutside = errors.New("a symbolic link that leads out of the tree")

// inside follows path as the kernel would, in the tree alone.
func inside(links map[string]string, path string) error {
	todo := strings.Split(path, "/")
	var at []string
	for hops := 0; len(todo) > 0; {
		name := todo[0]
		todo = todo[1:]
		switch name {
		case "", ".":
			continue
		case "..":
			if len(at) == 0 {
				return errOutside
			}
			at = at[:len(at)-1]
			continue
		}
		at = append(at, name)
		target, ok := links[strings.Join(at, "/")]
		if !ok {
			continue
		}
		if strings.HasPrefix(target, "/") {
			return errOutside
		}
		if hops++; hops > maxHops {
			return nil
		}
		at = at[:len(at)-1]
		todo = append(strings.Split(target, "/"), todo...)
	}
	return nil
}
