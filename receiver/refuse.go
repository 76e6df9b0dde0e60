package receiver

import (
	"fmt"
	"io"
	"strings"

	"slipway/config"
)

// maxRefusal keeps an ERR pkt-line well within what git reads.
const maxRefusal = 4000

// Refuse tells a git client, before anything else was written to w, why it is
// not served: one ERR pkt-line with the error and its hint, which git shows
// as "fatal: remote error: ...". It returns the exit status for that error.
func Refuse(w io.Writer, err error) int {
	text := clip(oneLine(err.Error()), maxRefusal/2)
	if hint := config.Hint(err); hint != "" {
		text += "\nhint: " + clip(oneLine(hint), maxRefusal/2)
	}
	line := "ERR " + text
	// A client that cannot be told has gone; its status tells nobody either.
	_, _ = fmt.Fprintf(w, "%04x%s", len(line)+4, line)
	return int(config.KindOf(err))
}

// complain tells a person, on w, why a command is not run.
func complain(w io.Writer, err error) int {
	text := "error: " + clip(oneLine(err.Error()), maxRefusal/2) + "\n"
	if hint := config.Hint(err); hint != "" {
		text += "hint: " + clip(oneLine(hint), maxRefusal/2) + "\n"
	}
	_, _ = io.WriteString(w, text) // as above
	return int(config.KindOf(err))
}

// oneLine keeps an error to one line of printable characters.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return ' '
		}
		return r
	}, strings.TrimSpace(s))
}

func clip(s string, n int) string {
	if len(s) > n {
		return s[:n] + "..."
	}
	return s
}
