package host

import (
	"context"
	"io"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Layers are the parts of a sandbox that this machine can give.
type Layers struct {
	User      bool // user namespaces are what gives us the others
	Mounts    bool // a view of the file system of its own
	ReadOnly  bool // in which the whole system is read-only
	Processes bool // a process namespace with a /proc of its own
	Network   bool // a network of its own
	Landlock  int  // ABI, 0 if it is not there
}

// probeTime bounds one try.
const probeTime = 10 * time.Second

// probe tries, once in the life of a process: a kernel and what stands around
// it do not change.
var probe = sync.OnceValue(func() Layers {
	all := Layers{User: os.Geteuid() != 0, Mounts: true, Processes: true, Network: true}
	less := all
	less.Network = false
	least := less
	least.Processes = false
	landlock := landlockABI()
	for _, try := range []Layers{all, less, least} {
		b := box{layers: try, network: !try.Network, out: io.Discard, err: io.Discard}
		b.spec = spec{Probe: true}
		ctx, cancel := context.WithTimeout(context.Background(), probeTime)
		r, err := b.run(ctx)
		cancel()
		if err == nil && r.Found.View {
			try.ReadOnly = r.Found.ReadOnly
			// Without a /proc that fits, too many programs would break.
			try.Processes = try.Processes && r.Found.Proc
			try.Landlock = landlock
			return try
		}
	}
	return Layers{Landlock: landlock}
})

// Probe says which layers of a sandbox this machine can give. It starts a
// process the first time, and remembers.
func Probe() Layers { return probe() }

func landlockABI() int {
	v, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return 0
	}
	return int(v)
}

// part is one layer as people read it.
type part struct {
	name, lack string
	there      bool
}

func (l Layers) parts() []part {
	return []part{
		{"mount namespaces", "builds see other files of this machine", l.Mounts},
		{"process namespaces", "builds see other processes", l.Processes},
		{"network namespaces", "[build] network = false cannot be kept", l.Network},
		{"Landlock", "builds can write whatever their account can", l.Landlock > 0},
	}
}

// missing names the layers that are not there.
func (l Layers) missing() []string {
	var names []string
	for _, p := range slices.DeleteFunc(l.parts(), func(p part) bool { return p.there }) {
		names = append(names, p.name)
	}
	return names
}
