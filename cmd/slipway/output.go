package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"slipway/builder"
	"slipway/config"
)

// print writes data.
func (c *call) print(format string, a ...any) error {
	_, err := fmt.Fprintf(c.io.Out, format, a...)
	return err
}

// say writes what is not data, such as that something was done, to standard
// error: scripts read standard output alone.
func (c *call) say(format string, a ...any) error {
	_, err := fmt.Fprintf(c.io.Err, format+"\n", a...)
	return err
}

// list writes a list, as one JSON document or as columns.
func (c *call) list(document any, heads []string, rows [][]string) error {
	if c.flag("json") {
		return writeJSON(c.io.Out, document)
	}
	return columns(c.io.Out, heads, rows)
}

// columns writes heads in capitals and rows below them, two spaces between
// columns. Each cell is shown as show does; an empty one is a dash.
func columns(w io.Writer, heads []string, rows [][]string) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if _, err := fmt.Fprintln(t, strings.Join(heads, "\t")); err != nil {
		return err
	}
	for _, row := range rows {
		cells := make([]string, len(row))
		for i, cell := range row {
			cells[i] = show(cell)
		}
		if _, err := fmt.Fprintln(t, strings.Join(cells, "\t")); err != nil {
			return err
		}
	}
	return t.Flush()
}

// show gives foreign text as it is where that is plain, else quoted with every
// control code escaped, so that it can neither move a cursor nor forge a row.
func show(s string) string {
	if s == "" {
		return "-"
	}
	// Quotes within it stay as they are: they forge nothing.
	q := strconv.Quote(s)
	if strings.ReplaceAll(q[1:len(q)-1], `\"`, `"`) != s || strings.TrimSpace(s) != s || s[0] == '"' {
		return q
	}
	return s
}

// quoted is foreign text within a sentence, cut to a readable length.
func quoted(s string) string {
	const longest = 80
	if len(s) > longest {
		s = s[:longest] + "..."
	}
	return strconv.QuoteToASCII(s)
}

func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// second is a time of day, in UTC.
func second(t time.Time) string { return t.UTC().Format(time.TimeOnly) }

// minute shows a time as lists do, in UTC.
func minute(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04")
}

// jsonTime is a time in JSON, to the second; null if it is none.
func jsonTime(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC().Truncate(time.Second)
	return &t
}

// inOrder is what JSON shows of a slice: an empty array, never null.
func inOrder[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

// readAll reads standard input to its end, or to one byte more than limit. It
// does not wait for the reader once ctx ends: a person's terminal, or a client
// that went away, may never come to an end.
func (c *call) readAll(ctx context.Context, limit int64) ([]byte, error) {
	type result struct {
		text []byte
		err  error
	}
	done := make(chan result, 1)
	go func() {
		text, err := io.ReadAll(io.LimitReader(c.io.In, limit+1))
		done <- result{text, err}
	}()
	select {
	case r := <-done:
		if r.err != nil {
			return nil, fmt.Errorf("read standard input: %w", r.err)
		}
		return r.text, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// statusOf is the exit status for an error: a configuration file that is wrong
// is no wrong usage of the command that has read it.
func statusOf(err error) config.Kind {
	if wrong := config.Mistakes(nil); errors.As(err, &wrong) {
		return config.Failed
	}
	return config.KindOf(err)
}

// sentence is an error's text on one line.
func sentence(err error) string {
	return builder.Clean(strings.ReplaceAll(strings.TrimSpace(err.Error()), "\n", "; "))
}

// fail prints an error as people read it, and gives its exit status.
func fail(w io.Writer, err error) int {
	var b strings.Builder
	if wrong := config.Mistakes(nil); errors.As(err, &wrong) {
		for _, line := range wrong.Lines() {
			if !strings.HasPrefix(line, "hint: ") {
				b.WriteString("error: ")
			}
			b.WriteString(builder.Clean(line) + "\n")
		}
	} else {
		b.WriteString("error: " + sentence(err) + "\n")
		if hint := config.Hint(err); hint != "" {
			b.WriteString("hint: " + builder.Clean(hint) + "\n")
		}
	}
	_, _ = io.WriteString(w, b.String()) // nobody is left to be told
	return int(statusOf(err))
}

// failJSON is fail for scripts.
func failJSON(w io.Writer, err error) int {
	type text struct {
		Code    string `json:"code"`
		Message string `json:"message"`
		Hint    string `json:"hint"`
	}
	status := statusOf(err)
	_ = writeJSON(w, map[string]text{ // as above
		"error": {status.String(), sentence(err), builder.Clean(config.Hint(err))},
	})
	return int(status)
}

// report is fail for a command that says nothing when it ends well.
func report(w io.Writer, err error) int {
	if err == nil {
		return 0
	}
	return fail(w, err)
}

func exitText(status int) string { return "exit status " + strconv.Itoa(status) }
