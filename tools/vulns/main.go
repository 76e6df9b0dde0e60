// Command vulns reads what `govulncheck -format json` prints and judges it: a
// vulnerability that our code reaches in a module fails, one in Go's own
// library warns, as only a newer Go mends it.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
)

// message is the part of govulncheck's stream that matters here.
type message struct {
	OSV *struct {
		ID, Summary string
	}
	Finding *struct {
		OSV          string
		FixedVersion string `json:"fixed_version"`
		Trace        []struct {
			Module, Version, Package, Function string
		}
	}
}

func main() {
	fails, warns, err := judge(os.Stdin)
	if err != nil {
		fmt.Fprintln(os.Stderr, "error: govulncheck's output:", err)
		os.Exit(1)
	}
	for _, line := range warns {
		fmt.Println("warning:", line)
	}
	for _, line := range fails {
		fmt.Println("error:", line)
	}
	if len(fails) > 0 {
		os.Exit(1)
	}
}

// judge returns one line for each vulnerability that a call reaches.
func judge(r io.Reader) (fails, warns []string, err error) {
	titles := map[string]string{}
	scanned := false
	for dec := json.NewDecoder(r); ; {
		var m message
		if err := dec.Decode(&m); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, nil, err
		}
		scanned = true
		if m.OSV != nil {
			titles[m.OSV.ID] = m.OSV.Summary
		}
		// The first frame is the vulnerable one. Without a function in it the
		// code is only imported or required, not reached.
		if m.Finding == nil || len(m.Finding.Trace) == 0 || m.Finding.Trace[0].Function == "" {
			continue
		}
		at := m.Finding.Trace[0]
		line := fmt.Sprintf("%s: %s in %s@%s, fixed in %s", m.Finding.OSV, titles[m.Finding.OSV],
			at.Module, at.Version, m.Finding.FixedVersion)
		if at.Module == "stdlib" {
			warns = append(warns, line)
		} else {
			fails = append(fails, line)
		}
	}
	if !scanned {
		return nil, nil, errors.New("it is empty")
	}
	slices.Sort(fails)
	slices.Sort(warns)
	return slices.Compact(fails), slices.Compact(warns), nil
}
