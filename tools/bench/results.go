package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// series is what was measured of one way to do one thing.
type series struct {
	Case   string    `json:"case"`
	Who    string    `json:"who"`
	Unit   string    `json:"unit"`
	Values []float64 `json:"values"` // in the order in which they were measured
}

func (s *series) median() float64 {
	sorted := slices.Sorted(slices.Values(s.Values))
	mid := len(sorted) / 2
	if len(sorted)%2 == 0 {
		return (sorted[mid-1] + sorted[mid]) / 2
	}
	return sorted[mid]
}

// results keeps what is measured, in the order of its first measurement.
type results struct {
	out  io.Writer
	list []*series
}

func (r *results) add(what, who, unit string, value float64) {
	fmt.Fprintf(r.out, "%-14s %-26s %12s\n", what, who, amount(value, unit))
	i := slices.IndexFunc(r.list, func(s *series) bool { return s.Case == what && s.Who == who })
	if i < 0 {
		i = len(r.list)
		r.list = append(r.list, &series{Case: what, Who: who, Unit: unit})
	}
	r.list[i].Values = append(r.list[i].Values, value)
}

// took measures how long something takes. What was written before is on disk
// first, so that nobody pays for another's writes.
func (r *results) took(what, who string, do func() error) error {
	syscall.Sync()
	from := time.Now()
	if err := do(); err != nil {
		return fmt.Errorf("%s, %s: %w", what, who, err)
	}
	r.add(what, who, "s", time.Since(from).Seconds())
	return nil
}

func (r *results) of(what, who string) *series {
	i := slices.IndexFunc(r.list, func(s *series) bool { return s.Case == what && s.Who == who })
	if i < 0 {
		return nil
	}
	return r.list[i]
}

func amount(v float64, unit string) string {
	switch unit {
	case "B":
		if v >= 1e6 {
			return fmt.Sprintf("%.1f MB", v/1e6)
		}
		return fmt.Sprintf("%.0f B", v)
	case "s":
		return fmt.Sprintf("%.3f s", v)
	default:
		return strings.TrimSpace(fmt.Sprintf("%.0f %s", v, unit))
	}
}

// figure is one that the project wants to reach: a ratio of two medians, or one
// median. It is at least want if more, else at most.
type figure struct {
	text      string
	what, who string
	over      [2]string // the divisor; none if empty
	more      bool
	want      float64
	unit      string // of one that is no ratio
}

var figures = []figure{
	{text: "cold: clone / Slipway", what: "cold", who: "clone", over: [2]string{"cold", slip}, more: true, want: 1},
	{text: "cold, 20 ms away: clone / Slipway", what: "cold far", who: "clone", over: [2]string{"cold far", slip}, more: true, want: 3},
	{text: "one file: dokku / Slipway", what: "one file", who: "dokku", over: [2]string{"one file", slip}, more: true, want: 10},
	{text: "one file: Slipway / floor", what: "one file", who: slip, over: [2]string{"one file", "floor"}, want: 2},
	{text: "one submodule: dokku / Slipway", what: "one submodule", who: "dokku", over: [2]string{"one submodule", slip}, more: true, want: 8},
	{text: "message: tree step / cp -a", what: "message", who: "tree step of Slipway", over: [2]string{"message", "cp -a"}, want: 1.3},
	{text: "pack: Slipway / sshd", what: "pack", who: slip, over: [2]string{"pack", "sshd"}, want: 1},
	{text: "pack: server's memory, more than before", what: "pack", who: "memory of Slipway", want: 100e6, unit: "B"},
	{text: "logins at the source, first push", what: "cold", who: "logins of Slipway", want: 1},
	{text: "small push: overhead", what: "small", who: "overhead of Slipway", want: 0.06, unit: "s"},
	{text: "host, one line: bytes, Slipway / rsync", what: "host line", who: "bytes of Slipway", over: [2]string{"host line", "bytes of rsync"}, want: 1},
	{text: "host, one line: tree and build / rsync in place", what: "host line", who: "tree and build of Slipway", over: [2]string{"host line", "rsync"}, want: 0.5},
	{text: "many: in turn / at once", what: "many", who: "in turn", over: [2]string{"many", "at once"}, more: true, want: 1.6},
}

// value gives false where it was not measured.
func (f figure) value(r *results) (float64, bool) {
	s := r.of(f.what, f.who)
	if s == nil {
		return 0, false
	}
	if f.over[0] == "" {
		return s.median(), true
	}
	d := r.of(f.over[0], f.over[1])
	if d == nil {
		return 0, false
	}
	return s.median() / d.median(), true
}

func (f figure) reached(v float64) bool {
	if f.more {
		return v >= f.want
	}
	return v <= f.want
}

// tables writes everything, as Markdown.
func (r *results) tables(w io.Writer) {
	fmt.Fprintf(w, "| case | who | median | least | most | times Slipway's |\n| --- | --- | ---: | ---: | ---: | ---: |\n")
	for _, s := range r.list {
		ratio := ""
		if ours := r.of(s.Case, slip); ours != nil && ours != s && ours.Unit == s.Unit {
			ratio = fmt.Sprintf("%.2f", s.median()/ours.median())
		}
		fmt.Fprintf(w, "| %s | %s | %s | %s | %s | %s |\n", s.Case, s.Who,
			amount(s.median(), s.Unit), amount(slices.Min(s.Values), s.Unit), amount(slices.Max(s.Values), s.Unit), ratio)
	}
	title := "\n| figure to reach | wanted | measured | |\n| --- | ---: | ---: | --- |\n"
	for _, f := range figures {
		v, ok := f.value(r)
		if !ok {
			continue
		}
		fmt.Fprint(w, title)
		title = ""
		show := func(v float64) string {
			if f.over[0] != "" {
				return fmt.Sprintf("%.2f", v)
			}
			return amount(v, f.unit)
		}
		bound, verdict := "at most ", "missed"
		if f.more {
			bound = "at least "
		}
		if f.reached(v) {
			verdict = "reached"
		}
		fmt.Fprintf(w, "| %s | %s%s | %s | %s |\n", f.text, bound, show(f.want), show(v), verdict)
	}
}

// machine says what it was measured on.
func machine() string {
	cpu := runtime.GOARCH
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if key, value, _ := strings.Cut(line, ":"); strings.TrimSpace(key) == "model name" {
				cpu = strings.TrimSpace(value)
				break
			}
		}
	}
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	return fmt.Sprintf("%d cores (%s), Linux %s", runtime.NumCPU(), cpu, cmp.Or(strings.TrimSpace(string(kernel)), "of unknown version"))
}

func (r *results) writeJSON(file string, sizes any) error {
	text, err := json.MarshalIndent(map[string]any{
		"date": time.Now().UTC().Format(time.DateOnly), "machine": machine(), "sizes": sizes, "series": r.list,
	}, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(text, '\n'), 0o644)
}
