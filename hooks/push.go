package hooks

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"slipway/config"
	"slipway/store"
)

// update is one line of what a push asks for: ref moves from old to new.
type update struct {
	old, new store.OID
	ref      string
}

const (
	maxUpdates = 256     // a push has one branch and its tags
	maxLine    = 4 << 10 // a ref's name is far shorter
	maxOption  = 1 << 10 // bytes of one push option
	maxOptions = 32      // of one push
)

var oid = config.NewPattern(`^[0-9a-f]{40}$`)

// parseUpdates reads the lines that git gives to pre-receive: OLD SP NEW SP REF.
func parseUpdates(r io.Reader) ([]update, error) {
	var all []update
	in := bufio.NewReaderSize(r, maxLine)
	for {
		line, err := in.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			return nil, badUpdate(string(line))
		case err != nil && !errors.Is(err, io.EOF):
			return nil, fmt.Errorf("read what the push changes: %w", err)
		case len(line) == 0 && len(all) == 0:
			return nil, config.Errorf(config.Usage, pushOne, "the push changes no ref")
		case len(line) == 0:
			return all, nil
		case len(all) == maxUpdates:
			return nil, config.Errorf(config.Usage, pushOne, "the push changes more than %d refs", maxUpdates)
		}
		u, err := parseUpdate(strings.TrimSuffix(string(line), "\n"))
		if err != nil {
			return nil, err
		}
		all = append(all, u)
	}
}

const (
	pushOne  = "push one branch: git push deploy main"
	leaveTag = "leave the tag out: git push deploy main"
)

func parseUpdate(line string) (update, error) {
	f := strings.SplitN(line, " ", 3)
	if len(f) != 3 || !oid.MatchString(f[0]) || !oid.MatchString(f[1]) || f[2] == "" || strings.ContainsAny(f[2], "\x00\r\n") {
		return update{}, badUpdate(line)
	}
	return update{store.OID(f[0]), store.OID(f[1]), f[2]}, nil
}

func badUpdate(line string) error {
	return config.Errorf(config.Usage, pushOne, "git asks for something that is no change of a ref: %s", quote(line))
}

// pushOptions are the -o words of a push.
type pushOptions struct {
	dryRun, noCache, noWait bool
	upstream                config.SourceURL // zero if not given
}

var knownOptions = []string{"dry-run", "no-cache", "no-wait", "upstream"}

const onlyKnown = "known are -o dry-run, -o no-cache, -o no-wait, -o upstream=URL"

func parseOptions(words []string) (pushOptions, error) {
	var o pushOptions
	if len(words) > maxOptions {
		return o, config.Errorf(config.Usage, onlyKnown, "the push has more than %d options", maxOptions)
	}
	for _, w := range words {
		if len(w) > maxOption {
			return o, config.Errorf(config.Usage, onlyKnown, "a push option is longer than %d bytes", maxOption)
		}
		key, value, has := strings.Cut(w, "=")
		switch {
		case key == "upstream" && has:
			u, err := config.ParseSourceURL(value)
			if err != nil {
				return o, &config.Error{Kind: config.Usage, Op: "read push option", On: "upstream", Err: err, Hint: upstreamForm}
			}
			o.upstream = u
		case key == "upstream":
			return o, config.Errorf(config.Usage, upstreamForm, "the push option upstream needs a URL")
		case !has && key == "dry-run":
			o.dryRun = true
		case !has && key == "no-cache":
			o.noCache = true
		case !has && key == "no-wait":
			o.noWait = true
		default:
			return o, unknownOption(w, key)
		}
	}
	return o, nil
}

const upstreamForm = "git push -o upstream=ssh://git@HOST/team/app.git deploy main"

func unknownOption(word, key string) error {
	hint := onlyKnown
	if near := config.Nearest(key, knownOptions); near != "" {
		hint = "did you mean -o " + near + "?"
		if near == "upstream" {
			hint = "did you mean -o upstream=URL?"
		}
	}
	return config.Errorf(config.Usage, hint, "unknown push option %s", quote(word))
}

// quote shows foreign text on one line of ASCII, cut to a readable length.
func quote(s string) string {
	if len(s) > 60 {
		s = s[:57] + "..."
	}
	return strconv.QuoteToASCII(s)
}

// plainly shows foreign text without quotes where it is plain, else quoted.
func plainly(s string) string {
	if q := strconv.QuoteToASCII(s); len(q) == len(s)+2 {
		return s
	}
	return strconv.QuoteToASCII(s)
}

const (
	heads = "refs/heads/"
	tags  = "refs/tags/"
)

// request is a push that obeys the rules about refs: the deployed branch and
// the tags beside it.
type pushed struct {
	branch update
	tags   []update
}

// sortUpdates decides what can be decided from the words of a push alone:
// branches is the names that may deploy, the one that exists first.
func sortUpdates(all []update, branches []string, env config.Env) (pushed, error) {
	want := branches[0]
	var p pushed
	var others []string
	seen := map[string]bool{}
	for _, u := range all {
		if seen[u.ref] {
			return p, config.Errorf(config.Usage, pushOne, "the push changes %s twice", quote(u.ref))
		}
		seen[u.ref] = true
		switch {
		case strings.HasPrefix(u.ref, tags):
			p.tags = append(p.tags, u)
		case isBranch(u.ref, branches) && p.branch.ref == "":
			p.branch = u
		default:
			others = append(others, u.ref)
		}
	}
	switch {
	case p.branch.ref != "" && len(others) > 0:
		return p, config.Errorf(config.Usage, "git push deploy "+strings.TrimPrefix(p.branch.ref, heads),
			"one push deploys one branch, and this one also changes %s", listed(others))
	case len(others) > 1:
		return p, config.Errorf(config.Usage, "git push deploy "+want,
			"one push deploys one branch, and this one changes %s", listed(others))
	case len(others) == 1:
		return p, wrongRef(others[0], want, env)
	case p.branch.ref != "" && p.branch.new == store.ZeroOID:
		return p, config.Errorf(config.Usage, "to take the app away: slipway app destroy",
			"the deployed branch %s cannot be deleted", strings.TrimPrefix(p.branch.ref, heads))
	}
	for _, t := range p.tags {
		switch {
		case t.new == store.ZeroOID:
			return p, config.Errorf(config.Usage, leaveTag, "tags that were deployed are kept: %s cannot be deleted", quote(t.ref))
		case t.old != store.ZeroOID:
			return p, config.Errorf(config.Usage, leaveTag, "tags that were deployed are kept: %s cannot be moved", quote(t.ref))
		case !validRef(t.ref):
			return p, config.Errorf(config.Usage, leaveTag, "%s is no name for a tag", quote(t.ref))
		}
	}
	if p.branch.ref == "" {
		return p, config.Errorf(config.Usage, "git push --follow-tags deploy "+want,
			"a tag alone deploys nothing; %s deploys %s", env, want)
	}
	return p, nil
}

func isBranch(ref string, branches []string) bool {
	for _, b := range branches {
		if ref == heads+b {
			return true
		}
	}
	return false
}

func wrongRef(ref, want string, env config.Env) error {
	name, isHead := strings.CutPrefix(ref, heads)
	if !isHead {
		return config.Errorf(config.Usage, "git push deploy "+want,
			"%s takes its branch %s and tags beside it, not %s", env, want, quote(ref))
	}
	hint := "git push deploy " + want
	if validRef(ref) && plainly(name) == name {
		hint = fmt.Sprintf("git push deploy %s:%s", name, want)
	}
	return config.Errorf(config.Usage, hint, "%s deploys %s, not %s", env, want, plainly(name))
}

func listed(refs []string) string {
	const most = 3
	shown := make([]string, 0, most)
	for _, r := range refs[:min(len(refs), most)] {
		shown = append(shown, plainly(strings.TrimPrefix(r, heads)))
	}
	s := strings.Join(shown, ", ")
	if more := len(refs) - most; more > 0 {
		s += fmt.Sprintf(" and %d more", more)
	}
	return s
}

// validRef is git-check-ref-format's rule for a ref's name, less what no one
// needs: bytes outside of printable ASCII are allowed by git and by us, shell
// characters too, since no name reaches a shell.
func validRef(ref string) bool {
	if strings.HasSuffix(ref, "/") || strings.HasSuffix(ref, ".") || strings.Contains(ref, "..") ||
		strings.Contains(ref, "@{") || strings.Contains(ref, "//") || len(ref) > 1024 {
		return false
	}
	for _, part := range strings.Split(ref, "/") {
		if part == "" || strings.HasPrefix(part, ".") || strings.HasSuffix(part, ".lock") {
			return false
		}
	}
	for i := 0; i < len(ref); i++ {
		if c := ref[i]; c <= ' ' || c == 0x7f || strings.IndexByte("~^:?*[\\", c) >= 0 {
			return false
		}
	}
	return true
}
