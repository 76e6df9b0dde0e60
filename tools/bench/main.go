// Command bench makes a data set and runs Slipway and what its peers run in turn
// on it: the same commits, the same source, the same machine, all on loopback.
// It prints how long each took, and the ratios.
//
//	bench [-size small|full] [-run CASES] [-rounds N] [-grow] [-files N] ...
//
// With -page and -json it also writes what it measured. See -help.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"
)

// slip is who we are in the tables.
const slip = "Slipway"

// sizes are those of the data set.
type sizes struct {
	Files        int `json:"files"`        // of the app
	Commits      int `json:"commits"`      // of the app
	Modules      int `json:"modules"`      // submodules, on three levels
	Big          int `json:"big"`          // files of the first of them
	Pack         int `json:"pack"`         // MiB of the large push
	Environments int `json:"environments"` // that are pushed to at once
	Rounds       int `json:"rounds"`
}

var bySize = map[string]sizes{
	"full":  {Files: 5000, Commits: 200, Modules: 20, Big: 20_000, Pack: 300, Environments: 50, Rounds: 3},
	"small": {Files: 500, Commits: 20, Modules: 4, Big: 2000, Pack: 30, Environments: 10, Rounds: 1},
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) (err error) {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	var (
		binary = flags.String("slipway", "bin/slipway", "the `program` to measure")
		size   = flags.String("size", "full", "full or small")
		only   = flags.String("run", ".", "a `pattern` over the names of cases: round, far, pack, small, many")
		grow   = flags.Bool("grow", false, "then measure how pushes grow with files, submodules and environments")
		page   = flags.String("page", "", "a Markdown `file` to write")
		asJSON = flags.String("json", "", "a JSON `file` to write")
		n      sizes
	)
	for name, at := range map[string]*int{
		"files": &n.Files, "commits": &n.Commits, "modules": &n.Modules, "big": &n.Big, "pack": &n.Pack,
		"environments": &n.Environments, "rounds": &n.Rounds,
	} {
		flags.IntVar(at, name, 0, "instead of -size's")
	}
	if err := flags.Parse(args); err != nil {
		return err
	}
	base, ok := bySize[*size]
	if !ok {
		return fmt.Errorf("-size %s is neither full nor small", *size)
	}
	n.fill(base)
	pattern, err := regexp.Compile(*only)
	if err != nil {
		return err
	}
	program, err := filepath.Abs(*binary)
	if err != nil {
		return err
	}

	b := &bench{results: &results{out: out}, n: n}
	if b.lab, err = newLab(ctx, program, os.TempDir()); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	if err := b.cases(pattern); err != nil {
		return err
	}
	if *grow {
		if err := b.growth(*size == "small"); err != nil {
			return err
		}
	}
	fmt.Fprintln(out)
	b.tables(out)
	if *page != "" {
		if err := b.writePage(*page, args); err != nil {
			return err
		}
	}
	if *asJSON != "" {
		return b.writeJSON(*asJSON, n)
	}
	return nil
}

// fill takes what is not set from base.
func (n *sizes) fill(base sizes) {
	for _, f := range []struct{ at, from *int }{
		{&n.Files, &base.Files},
		{&n.Commits, &base.Commits},
		{&n.Modules, &base.Modules},
		{&n.Big, &base.Big},
		{&n.Pack, &base.Pack},
		{&n.Environments, &base.Environments},
		{&n.Rounds, &base.Rounds},
	} {
		if *f.at == 0 {
			*f.at = *f.from
		}
	}
}

// bench is one run.
type bench struct {
	*lab
	*results
	n sizes
}

func (b *bench) cases(only *regexp.Regexp) error {
	began := time.Now()
	set, err := b.dataSet("app", b.n)
	if err != nil {
		return err
	}
	fmt.Fprintf(b.out, "data: %d files, %d commits, %d submodules (one of %d files), made in %.0f s\n",
		b.n.Files, b.n.Commits, b.n.Modules, b.n.Big, time.Since(began).Seconds())
	for _, c := range []struct {
		name string
		do   func(round int) error
	}{
		{"round", func(round int) error { return b.round(set, round) }},
		{"far", func(round int) error { return b.far(set, round) }},
		{"pack", b.largePack},
		{"small", b.smallPushes},
		{"many", b.manyAtOnce},
	} {
		if !only.MatchString(c.name) {
			continue
		}
		for round := range b.n.Rounds {
			fmt.Fprintf(b.out, "-- %s, round %d of %d\n", c.name, round+1, b.n.Rounds)
			if err := c.do(round + 1); err != nil {
				return err
			}
		}
	}
	return nil
}

const pageText = `# Benchmarks

Written by ` + "`make bench%s`" + ` on %s: %s.
Data: %d files and %d commits in the app, %d submodules on three levels, one of
%d files; %d rounds, with a new server and an empty cache in each. Source, host,
server and client are on this one machine; every way gets the same commits, in
turn.

%s
- cold: the first push, beside ` + "`git clone --recurse-submodules -j8`" + `; logins are SSH
  connections to the source. "cold far" is the same with 10 ms of delay each way.
- one file, one submodule: the second push, beside dokku's and piku's git commands
  (piku's are not recursive), and the floor: ` + "`git push`" + ` to a hook that does
  nothing, and ` + "`cp -a`" + ` of the tree. Slipway's push comes when the background has
  made the spare tree; "at once after another" comes before that.
- message: nothing has changed but a commit's message.
- host first, host line: to a host over SSH, all files and then one line. Bytes are
  those of both directions on the wire. rsync's and tar's time is that of bringing
  the tree alone; Slipway's push is the whole deploy, its steps "tree" and "build"
  are what corresponds to rsync.
- pack: a push of %d MiB that hardly compress, beside sshd before ` + "`git receive-pack`" + `.
- small: a push of a commit's message to an app of one file, ten times in a round;
  the overhead is what Slipway's push takes more than the steps that it reports, the
  same push to a path and a command over SSH together.
- many: one push to each of %d environments of 200 files.
- 1000 files, and so on: a server with that many files in the app (1,000 else),
  submodules (1 else) or environments (1 else), measured once.

` + "`tools/bench/peers.go`" + ` has the commands of the peers, and
[design.md](design.md#where-the-time-goes) says where the time goes that is missed.
`

func (b *bench) writePage(file string, args []string) error {
	var tables strings.Builder
	b.tables(&tables)
	n := b.n
	given := ""
	for i := 0; i < len(args); i++ { // without the files that the Makefile names
		switch args[i] {
		case "-page", "-json", "-slipway":
			i++
		default:
			given += " " + args[i]
		}
	}
	if given != "" {
		given = ` BENCH="` + strings.TrimSpace(given) + `"`
	}
	text := fmt.Sprintf(pageText, given, time.Now().UTC().Format(time.DateOnly), machine(),
		n.Files, n.Commits, n.Modules, n.Big, n.Rounds, tables.String(), n.Pack, n.Environments)
	return os.WriteFile(file, []byte(text), 0o644)
}
