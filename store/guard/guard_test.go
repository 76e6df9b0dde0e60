package guard

import (
	"errors"
	"io"
	"strings"
	"testing"
)

func TestRun(t *testing.T) {
	if err := Run(func() error { return io.EOF }); err != io.EOF {
		t.Errorf("an error comes back as %v", err)
	}
	if err := Run(func() error { return nil }); err != nil {
		t.Errorf("nothing comes back as %v", err)
	}
	var p *Panic
	err := Run(func() error { panic("s3cret") })
	if !errors.As(err, &p) || strings.Contains(err.Error(), "s3cret") || p.Detail() != "panic: s3cret" || !strings.Contains(string(p.Stack), "guard_test.go") {
		t.Errorf("a panic comes back as %v, %+v", err, p)
	}
}
