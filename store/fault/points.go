package fault

// Point is a place at which a fault can be set.
type Point struct {
	Name string
	Row  string // of the table in docs/faults.md
	// Forward says that a server which is killed there has already committed:
	// the new release is live after the next start.
	Forward bool
	// Accepted says that an error there comes too late to refuse the push.
	Accepted bool
	// Before lists the faults that lead to the place, "" if every push comes
	// by it.
	Before string
	// Start says that the place is in the recovery at a start, to which a kill
	// at Before leads.
	Start bool
	// Packs says that a push comes by the place only where its repository has
	// many packs.
	Packs bool
}

// Points lists every place, in the order in which a push comes by them.
func Points() []Point {
	return []Point{
		{Name: "push.open", Row: "F9"},
		{Name: "pre.start", Row: "F16"},
		{Name: "queue.turn", Row: "F17"},
		{Name: "release.number", Row: "F18"},
		{Name: "journal.begin", Row: "F18"},
		{Name: "log.create", Row: "F18"},
		{Name: "app.read", Row: "F19"},
		{Name: "plan.resolve", Row: "F20"},
		{Name: "plan.journal", Row: "F24"},
		{Name: "tree.read", Row: "F23"},
		{Name: "tree.journal", Row: "F24"},
		{Name: "host.place", Row: "F25"},
		{Name: "host.spare", Row: "F25"},
		{Name: "tree.write", Row: "F26"},
		{Name: "tree.keep", Row: "F27"},
		{Name: "host.furnish", Row: "F28"},
		{Name: "host.build", Row: "F29"},
		{Name: "host.built", Row: "F29"},
		{Name: "host.sync", Row: "F31"},
		{Name: "stage.record", Row: "F34"},
		{Name: "stage.journal", Row: "F34"},
		{Name: "pre.end", Row: "F35"},
		{Name: "proc.start", Row: "F36"},
		{Name: "refs.prepare", Row: "F37"},
		{Name: "refs.locked", Row: "F39"},
		{Name: "switch.journal", Row: "F40"},
		{Name: "switch.begun", Row: "F40"},
		{Name: "host.lock", Row: "F41"},
		{Name: "host.fenced", Row: "F41"},
		{Name: "host.link", Row: "F41"},
		{Name: "host.renamed", Row: "F42"},
		{Name: "switch.told", Row: "F42"},
		{Name: "switch.restarted", Row: "F44"},
		{Name: "refs.commit", Row: "F49"},
		{Name: "refs.moved", Row: "F50", Forward: true, Accepted: true},
		{Name: "record.app", Row: "F51", Forward: true, Accepted: true},
		{Name: "record.live", Row: "F51", Forward: true, Accepted: true},
		{Name: "record.rest", Row: "F51", Forward: true, Accepted: true},
		{Name: "record.manifest", Row: "F51", Forward: true, Accepted: true},
		{Name: "proc.answer", Row: "F52", Forward: true, Accepted: true},
		{Name: "proc.end", Row: "F53", Forward: true, Accepted: true},
		{Name: "post.start", Row: "F55", Forward: true, Accepted: true},
		{Name: "prune.start", Row: "F56", Forward: true, Accepted: true},
		{Name: "host.prune", Row: "F56", Forward: true, Accepted: true},
		{Name: "prune.end", Row: "F56", Forward: true, Accepted: true},
		{Name: "repack.start", Row: "F56", Forward: true, Accepted: true, Packs: true},
		{Name: "repack.end", Row: "F56", Forward: true, Accepted: true, Packs: true},

		{Name: "abandon.start", Row: "F30", Before: "host.build:error"},
		{Name: "host.discard", Row: "F30", Before: "host.build:error"},
		{Name: "host.discarded", Row: "F30", Before: "host.build:error"},
		{Name: "abandon.journal", Row: "F30", Before: "host.build:error"},
		{Name: "revert.journal", Row: "F47", Before: "switch.restarted:error"},
		{Name: "revert.activate", Row: "F47", Before: "switch.restarted:error"},
		{Name: "revert.told", Row: "F47", Before: "switch.restarted:error"},
		{Name: "diverge.journal", Row: "F47", Before: "switch.restarted:error,revert.activate:error"},

		{Name: "recover.repos", Row: "F57", Before: "switch.restarted", Start: true},
		{Name: "settle.activate", Row: "F57", Before: "switch.restarted", Start: true},
		{Name: "settle.discard", Row: "F57", Before: "switch.restarted", Start: true},
		{Name: "settle.back", Row: "F57", Before: "switch.restarted", Start: true},
		{Name: "settle.forward", Row: "F57", Before: "refs.moved", Start: true, Forward: true},
		{Name: "settle.live", Row: "F57", Before: "refs.moved", Start: true, Forward: true},
		{Name: "recover.sweep", Row: "F57", Before: "stage.journal", Start: true},
	}
}
