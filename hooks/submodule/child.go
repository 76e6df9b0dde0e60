package submodule

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"slipway/hooks/socket"
	"slipway/store/guard"
)

// Environment variables by which git's children find the server and the fetch
// that they belong to.
const (
	EnvSocket = "SLIPWAY_FETCH"
	EnvToken  = "SLIPWAY_FETCH_TOKEN"
)

// CredentialCommand is the word by which git starts this program for a
// credential.
const CredentialCommand = "credential"

// ProxyMain is what git starts in place of ssh: it relays to the server, which
// has the connection. The words are not needed there: the server knows which
// repository the token was given for.
func ProxyMain(args []string, in io.Reader, out, errs io.Writer) int {
	return call(socket.Hello{Command: append([]string{"ssh"}, args...)}, in, out, errs)
}

// CredentialMain is git's credential helper; it only ever gets.
func CredentialMain(args []string, in io.Reader, out, errs io.Writer) int {
	if len(args) != 1 || args[0] != "get" {
		return 0
	}
	return call(socket.Hello{Command: []string{CredentialCommand}}, in, out, errs)
}

func call(hello socket.Hello, in io.Reader, out, errs io.Writer) int {
	hello.Token = os.Getenv(EnvToken)
	hello.Env = map[string]string{"GIT_PROTOCOL": os.Getenv("GIT_PROTOCOL")}
	conn, err := socket.Dial(os.Getenv(EnvSocket))
	if err != nil {
		fmt.Fprintln(errs, "Slipway's server does not answer")
		return 1
	}
	status, err := socket.Call(conn, hello, in, out, errs, nil)
	if err != nil {
		return 1
	}
	return status
}

// serve answers one of git's children.
func (r *Resolver) serve(ctx context.Context, c *socket.Session) int {
	r.mu.Lock()
	t := r.fetches[c.Hello.Token]
	r.mu.Unlock()
	if t == nil || len(c.Hello.Command) == 0 {
		return 1
	}
	status := 0
	err := guard.Run(func() (err error) {
		if c.Hello.Command[0] == CredentialCommand {
			status = t.credential(c)
			return nil
		}
		status, err = r.relay(ctx, t, c)
		return err
	})
	if err != nil {
		t.fail(err)
		return 1
	}
	return status
}

// relay runs git-upload-pack on the source's connection. What the source says
// on its standard error is kept here: git would only mix it with its own.
func (r *Resolver) relay(ctx context.Context, t *transfer, c *socket.Session) (int, error) {
	path, err := url.PathUnescape(t.url.Path())
	if err != nil {
		return 0, err
	}
	session, done, err := r.pool.session(ctx, t.src, t.url)
	if err != nil {
		return 0, err
	}
	defer done()
	if v := c.Hello.Env["GIT_PROTOCOL"]; v == "version=1" || v == "version=2" {
		_ = session.Setenv("GIT_PROTOCOL", v) // a server that does not take it speaks version 0
	}
	session.Stdout, session.Stderr = &counted{c.Out, t, r.o.Now}, t.said
	in, err := session.StdinPipe()
	if err != nil {
		return 0, err
	}
	if err := session.Start("git-upload-pack " + shellQuote(path)); err != nil {
		return 0, &unreachableError{t.url.Addr(), "the session was refused"}
	}
	go func() { // ends when serve closes c.In, at the latest
		_, _ = io.Copy(in, c.In) // either side may end first
		in.Close()
	}()
	stop := context.AfterFunc(ctx, func() { session.Close() })
	defer stop()
	err = session.Wait()
	var exit *ssh.ExitError
	switch {
	case err == nil:
		t.end(0)
		return 0, nil
	case errors.As(err, &exit) && exit.Signal() == "":
		t.end(exit.ExitStatus())
		return max(exit.ExitStatus(), 1), nil
	case ctx.Err() != nil:
		t.end(0) // git went first, and knows why
		return 1, nil
	case errors.As(err, &exit):
		return 0, &unreachableError{t.url.Addr(), "it ended the session by signal " + show(exit.Signal())}
	}
	return 0, &unreachableError{t.url.Addr(), "the connection was cut"}
}

// counted notes what comes through.
type counted struct {
	w   io.Writer
	t   *transfer
	now func() time.Time
}

func (c *counted) Write(b []byte) (int, error) {
	c.t.received.Add(int64(len(b)))
	c.t.moved.Store(c.now().UnixNano())
	return c.w.Write(b)
}

// credential answers for the fetch's own repository, once.
func (t *transfer) credential(c *socket.Session) int {
	want := map[string]string{}
	in := bufio.NewScanner(io.LimitReader(c.In, 64<<10))
	for in.Scan() && in.Text() != "" {
		key, value, _ := strings.Cut(in.Text(), "=")
		want[key] = value
	}
	path, err := url.PathUnescape(t.url.Path())
	if in.Err() != nil || err != nil {
		return 1
	}
	host := t.url.Addr()
	if t.url.Port() == 443 {
		host = strings.TrimSuffix(host, ":443")
	}
	t.mu.Lock()
	asked := t.asked
	t.asked = true
	t.mu.Unlock()
	if asked || t.src.Token.IsZero() || want["protocol"] != "https" || want["host"] != host ||
		strings.TrimSuffix(want["path"], "/") != strings.TrimPrefix(path, "/") {
		return 0 // no answer: git goes on without
	}
	fmt.Fprintf(c.Out, "username=%s\npassword=%s\n", t.src.Username, t.src.Token.Reveal())
	return 0
}
