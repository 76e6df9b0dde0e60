package hooks

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"slipway/builder"
	"slipway/hooks/socket"
	"slipway/store/fault"
)

// procReceive speaks the protocol of githooks' proc-receive: it answers each
// ref with ok, or with ng and the reason.
func (p *Push) procReceive(ctx context.Context, call *socket.Session) int {
	in := bufio.NewReader(call.In)
	hello, err := readSection(in)
	if err != nil || len(hello) == 0 || !strings.HasPrefix(hello[0], "version=1") {
		fmt.Fprintln(call.Err, "error: git speaks an unknown version of proc-receive")
		return 1
	}
	if err := writeSection(call.Out, "version=1\x00atomic"); err != nil {
		return 1
	}
	lines, err := readSection(in)
	if err != nil {
		fmt.Fprintln(call.Err, "error: git's request to move the branch broke off")
		return 1
	}
	reason := p.commit(ctx, call, lines)
	if err := fault.Hit("proc.answer"); err != nil {
		return 1
	}
	answer := make([]string, 0, len(lines))
	for _, l := range lines {
		u, err := parseUpdate(l)
		switch {
		case err != nil:
			return 1
		case reason == "":
			answer = append(answer, "ok "+u.ref)
		default:
			answer = append(answer, "ng "+u.ref+" "+reason)
		}
	}
	if err := writeSection(call.Out, answer...); err != nil {
		return 1 // git is gone; what has happened has happened
	}
	if fault.Hit("proc.end") != nil {
		return 1
	}
	return 0
}

// commit switches the staged deploy live and returns "" or the reason for
// which it did not.
func (p *Push) commit(ctx context.Context, call *socket.Session, lines []string) string {
	p.mu.Lock()
	d := p.d
	p.d = nil
	p.mu.Unlock()
	if d == nil {
		return "nothing was staged"
	}
	d.progress.SetPusher(call.Err)
	want := map[string]update{d.ref: {d.old, d.commit, d.ref}}
	for _, t := range d.tags {
		want[t.ref] = t
	}
	for _, l := range lines {
		u, err := parseUpdate(l)
		if err != nil || want[u.ref] != u {
			err := errors.New("git asks for another change than was built")
			d.abandon(ctx, err)
			return err.Error()
		}
		delete(want, u.ref)
	}
	if len(want) > 0 {
		err := errors.New("git asks for fewer changes than were built")
		d.abandon(ctx, err)
		return err.Error()
	}
	err := p.s.Guarded(func() error { return fault.Hit("proc.start") })
	if err != nil {
		d.abandon(ctx, err)
	} else {
		err = d.commitLive(ctx)
	}
	p.s.audit(ctx, p.caller, p.ae, "push", d.detail(), err)
	if err != nil {
		return oneLine(err)
	}
	return ""
}

// detail is what the audit log says of a push.
func (d *deploy) detail() string {
	return fmt.Sprintf("%s %s..%s release %d", d.ref, d.old.Short(), d.commit.Short(), d.rel.Number)
}

// oneLine makes a reason that fits into git's "(...)".
func oneLine(err error) string {
	s := builder.Clean(err.Error())
	if len(s) > 200 {
		s = s[:197] + "..."
	}
	return s
}

// readSection reads pkt-lines up to a flush.
func readSection(r io.Reader) ([]string, error) {
	var all []string
	for len(all) <= maxUpdates+maxOptions {
		var size [4]byte
		if _, err := io.ReadFull(r, size[:]); err != nil {
			return nil, err
		}
		n, err := strconv.ParseUint(string(size[:]), 16, 16)
		switch {
		case err != nil || n > 0 && n < 4 || n > maxLine:
			return nil, fmt.Errorf("pkt-line of length %q", size[:])
		case n == 0:
			return all, nil
		}
		line := make([]byte, n-4)
		if _, err := io.ReadFull(r, line); err != nil {
			return nil, err
		}
		all = append(all, string(bytes.TrimSuffix(line, []byte("\n"))))
	}
	return nil, errors.New("too many pkt-lines")
}

func writeSection(w io.Writer, lines ...string) error {
	var b bytes.Buffer
	for _, l := range lines {
		fmt.Fprintf(&b, "%04x%s\n", len(l)+5, l)
	}
	b.WriteString("0000")
	_, err := w.Write(b.Bytes())
	return err
}
