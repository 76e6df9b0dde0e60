package sshdtest

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// Lose ends the server as a power cut does: with every process that came of it,
// sessions and what they have left behind alike.
func (s *Server) Lose(t testing.TB) {
	t.Helper()
	for {
		all := s.Processes(t)
		for _, pid := range all {
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended
		}
		if len(all) == 0 {
			break
		}
		s.stop()
	}
}

// Return starts a server again that was lost: the same machine, at the same
// place.
func (s *Server) Return(t testing.TB) {
	t.Helper()
	check(t, os.Truncate(s.Log, 0)) // what it said before is not what is waited for
	if !s.start(t) {
		log, _ := os.ReadFile(s.Log)
		t.Fatalf("sshd does not start again: %s", log)
	}
}

// Processes lists those that came of the server, itself included. One whose
// parents have ended is known by the variable that every session has.
func (s *Server) Processes(t testing.TB) (all []int) {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	check(t, err)
	parents := map[int]int{}
	own := "\x00" + mark + "=" + s.Log + "\x00"
	found := map[int]bool{s.cmd.Process.Pid: true}
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		// The name, in parentheses, may hold anything.
		words := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
		if words[0] == "Z" {
			continue
		}
		parents[pid], _ = strconv.Atoi(words[1])
		environ, _ := os.ReadFile(filepath.Join(filepath.Dir(path), "environ")) // another's may not be read
		if strings.Contains("\x00"+string(environ), own) {
			found[pid] = true
		}
	}
	for pid := range parents {
		for at := pid; at > 1; at = parents[at] {
			if found[at] {
				all = append(all, pid)
				break
			}
		}
	}
	return all
}
