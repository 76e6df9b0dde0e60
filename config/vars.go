package config

import (
	"fmt"
	"slices"
	"strings"
)

// maxVarBytes is the longest value of a variable. Linux takes 128 KiB for one
// string of an environment, the longest name, '=' and the NUL at its end
// included.
const maxVarBytes = 128<<10 - 255 - 2

var varName = NewPattern(`^[A-Z_][A-Z0-9_]{0,254}$`)

// ParseVarName checks the name of an environment variable that a user may set:
// [A-Z_][A-Z0-9_]*, at most 255 bytes, none of the names that are Slipway's or
// the loader's own (SLIPWAY_*, DOTCLOUD_*, DATABASE_URL, HOME, PATH, TMPDIR,
// LD_*). The error names the rule.
func ParseVarName(s string) error {
	refuse := func(text, hint string) error {
		return &Error{Kind: Usage, Op: "parse", On: "variable " + quote(s), Err: errText(text), Hint: hint}
	}
	if !varName.MatchString(s) {
		hint := "A-Z, 0-9 and '_', not led by a digit, at most 255 of them"
		if up := strings.ToUpper(strings.NewReplacer("-", "_", ".", "_").Replace(s)); len(s) < 64 && varName.MatchString(up) {
			hint += ": such as " + up
		}
		return refuse("not the name of a variable", hint)
	}
	for _, prefix := range []string{"SLIPWAY_", "DOTCLOUD_"} {
		if strings.HasPrefix(s, prefix) {
			return refuse("names that begin with "+prefix+" are Slipway's own", "choose another name")
		}
	}
	if strings.HasPrefix(s, "LD_") {
		return refuse("names that begin with LD_ are the loader's own", "set it in the command that needs it")
	}
	if slices.Contains([]string{"DATABASE_URL", "HOME", "PATH", "TMPDIR"}, s) {
		return refuse("Slipway sets it itself", "choose another name")
	}
	return nil
}

// CheckVarValue refuses NUL and more than Linux takes, which is almost 128 KiB.
// The error does not show the
// value.
func CheckVarValue(s string) error {
	refuse := func(text, hint string) error {
		return &Error{Kind: Usage, Op: "check", On: "value", Err: errText(text), Hint: hint}
	}
	if strings.IndexByte(s, 0) >= 0 {
		return refuse("has a NUL byte in it, which no environment can hold", "encode it, for example with base64")
	}
	if len(s) > maxVarBytes {
		return refuse(fmt.Sprintf("%d bytes, more than %d", len(s), maxVarBytes), "keep it in a file below [deploy] shared")
	}
	return nil
}
