package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	gossh "golang.org/x/crypto/ssh"
)

// badClients is L6 and L7, side by side as both take their minute: clients on a
// line of 1 KB/s, and clients that never read what they are told.
func (l *load) badClients() {
	rounds := l.n(30, 10)
	var alone, beside []pushed
	for range rounds {
		alone = append(alone, l.push1("well/e0", l.next()))
	}
	before := l.rest(l.begin, 5*time.Second)
	slow := make([]pushed, l.n(20, 4))
	deaf := make([]pushed, l.n(10, 2))
	line := l.slowLine()
	ssh := l.deafSSH()
	var bad sync.WaitGroup
	for i := range slow {
		commit := l.change(1 << 20)
		bad.Go(func() { slow[i] = l.push(line, fmt.Sprintf("slow/e%d", i), commit) })
	}
	for i := range deaf {
		commit := l.change(1<<10, "chatty")
		bad.Go(func() {
			deaf[i] = l.push(l.port, fmt.Sprintf("deaf/e%d", i), commit, "GIT_SSH_COMMAND="+ssh, "GIT_SSH_VARIANT=ssh", "DEAF_KEY="+l.key())
		})
	}
	l.await(func() bool { return len(l.processes(l.dir, "git receive-pack")) >= len(slow) })
	for range rounds {
		beside = append(beside, l.push1("well/e0", l.next()))
	}
	during := l.usage()
	bad.Wait()
	l.count("L6", fmt.Sprintf("%d pushes at 1 KB/s: accepted", len(slow)), accepted(slow), 0)
	l.figure("L6", "  the last is cut after", centile(took(slow), 100), 90, "s")
	for _, p := range slow {
		if !strings.Contains(p.out, "KiB/s for a minute") {
			l.Errorf("a slow push is not told why it ends:\n%s", p.out)
		}
	}
	l.figure("L6", "  others beside them against alone, p95", centile(took(beside), 95)/centile(took(alone), 95), 1.5, "x")
	after := l.rest(before, 15*time.Second)
	l.figure("L7", fmt.Sprintf("%d pushers that never read: ended after", len(deaf)), centile(took(deaf), 100), 90, "s")
	l.figure("L7", "  memory meanwhile, with the slow ones", during.resident-before.resident, 100, "MiB")
	l.figure("L7", "  goroutines left", float64(after.goroutines-before.goroutines), 4, "")
	l.quiet()
	for _, p := range deaf {
		if p.took < time.Second {
			l.Errorf("one that was to be deaf ends at once:\n%s", p.out)
		}
	}
	wrong := 0
	for i := range deaf {
		f := l.of("deaf", fmt.Sprintf("e%d", i))
		rows := f.releases()
		f.agree(f.ref(), rows) // what a deaf one cannot be told is true all the same
		if deaf[i].ok && liveOf(rows).Commit != deaf[i].commit {
			wrong++
		}
	}
	l.count("L7", "  told what is not so", wrong, 0)
	l.checkLeft()
	l.checkProcesses()
}

// slowLine listens for clients, and hands on what they send at 1 KB/s.
func (l *load) slowLine() (port string) {
	in, err := net.Listen("tcp", "127.0.0.1:0")
	l.must(err)
	l.Cleanup(func() { in.Close() })
	go func() {
		for {
			client, err := in.Accept()
			if err != nil {
				return // the test is over
			}
			go l.hand(client)
		}
	}()
	_, port, err = net.SplitHostPort(in.Addr().String())
	l.must(err)
	return port
}

func (l *load) hand(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", "127.0.0.1:"+l.port)
	if err != nil {
		return // the client is cut off, which it says
	}
	defer server.Close()
	go func() {
		_, _ = io.Copy(client, server) // until either hangs up
		client.Close()
	}()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	quick := int64(6 << 10) // a handshake, which is not what is measured
	for n := quick; ; n = 1000 {
		if _, err := io.CopyN(server, client, n); err != nil {
			return
		}
		<-tick.C
	}
}

// deafSSH makes this program go by another name, under which it is an ssh that
// stops to read; see deaf.
func (l *load) deafSSH() string {
	self, err := os.Executable()
	l.must(err)
	path := filepath.Join(l.root, "deaf")
	l.must(os.Symlink(self, path))
	return path
}

// deaf is an SSH client as git starts one, -p PORT USER@HOST COMMAND. It reads
// what git needs to begin a push, and no more, but stays connected.
func deaf() int {
	err := hangOn(os.Args[1:])
	if exit := (*gossh.ExitError)(nil); errors.As(err, &exit) {
		return exit.ExitStatus()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 255
	}
	return 0
}

func hangOn(args []string) error {
	if len(args) < 4 {
		return fmt.Errorf("deaf to %q", args)
	}
	args = args[len(args)-4:]
	text, err := os.ReadFile(os.Getenv("DEAF_KEY"))
	if err != nil {
		return err
	}
	key, err := gossh.ParsePrivateKey(text)
	if err != nil {
		return err
	}
	user, host, _ := strings.Cut(args[2], "@")
	client, err := gossh.Dial("tcp", net.JoinHostPort(host, args[1]), &gossh.ClientConfig{
		User: user, Auth: []gossh.AuthMethod{gossh.PublicKeys(key)},
		HostKeyCallback: gossh.InsecureIgnoreHostKey(), // it is our own, on loopback
	})
	if err != nil {
		return err
	}
	defer client.Close()
	session, err := client.NewSession()
	if err != nil {
		return err
	}
	session.Stdin = os.Stdin
	out, err := session.StdoutPipe()
	if err != nil {
		return err
	}
	if err := session.Start(args[3]); err != nil {
		return err
	}
	began := make([]byte, 64<<10)
	n, err := out.Read(began)
	if err != nil {
		return err
	}
	if _, err := os.Stdout.Write(began[:n]); err != nil {
		return err
	}
	return session.Wait() // nobody reads out, or what comes on stderr
}
