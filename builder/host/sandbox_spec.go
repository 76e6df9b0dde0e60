package host

import "syscall"

// SandboxCommand is the hidden first argument that starts this program as the
// first process of a sandbox; main then calls SandboxMain.
const SandboxCommand = "sandbox-init"

// sandboxMark is set in the environment of a sandbox's first process, and of
// no other: a program that does not know SandboxCommand would else start
// itself again and again.
const sandboxMark = "SLIPWAY_SANDBOX"

// The descriptors that a sandbox's first process finds open.
const (
	specFD   = 3 // the spec, as JSON, to be read to its end
	lifeFD   = 4 // ends when the process that asked for the sandbox does
	reportFD = 5 // takes the report, as JSON
)

// spec is what a sandbox is to be and to run. It goes over a pipe: it has
// secrets in it, and arguments and environment can be read by others.
type spec struct {
	Probe bool // only find out what works

	Argv, Env []string
	Dir       string
	TTY       bool // standard input is a terminal, to be the controlling one

	Owner     owner
	Base      string   // seen read-only at its own path, whatever hides its parents
	Writable  []string // directories inside Base
	Temp      string   // is /tmp and /var/tmp inside
	Hidden    []string // paths that are empty inside
	DotCloud  string   // where /home/dotcloud leads, for apps that name it; "" for no such path
	Mounts    bool     // a mount namespace is there to show all this in
	Processes bool     // a process namespace is there: we are its pid 1
	Loopback  bool     // the network namespace is new and wants its lo
	Landlock  int      // ABI of the kernel, 0 is none
	Survive   bool     // what the command leaves running goes on
	Counted   bool     // the kernel counts the processes of the account inside apart from others

	MaxProcesses, MaxFiles int
	MaxMemory              int64
}

// owner is the account that a command runs as; UID -1 keeps our own.
type owner struct {
	UID, GID int
	Groups   []int // beside GID
}

func (o owner) set() bool { return o.UID >= 0 }

// report is how a sandbox ended.
type report struct {
	Error  string         // the command was not started
	Errno  syscall.Errno  // why the kernel would not start it, 0 if that is not it
	Status int            // the command's
	Signal syscall.Signal // that ended it, 0 if it exited
	Found  mounts         // by a probe
}

// mounts are the parts of a private view of the file system that work here.
type mounts struct {
	View     bool // hide paths, bind others
	ReadOnly bool // the whole system read-only
	Proc     bool // a /proc of its own
}
