package tree

import (
	"errors"
	"strconv"
	"strings"
	"unicode/utf8"

	"slipway/config"
)

// maxName is what Linux file systems take.
const maxName = 255

// maxShown is how much of a path is shown to people.
const maxShown = 160

// show is a pushed path as people may see it: ASCII, without control
// characters, bounded.
func show(path string) string {
	plain := path != ""
	for i := 0; i < len(path); i++ {
		if c := path[i]; c <= ' ' || c >= 0x7f || c == '"' || c == '\\' || c == '\'' {
			plain = false
			break
		}
	}
	if len(path) > maxShown {
		path = path[:maxShown/2] + "..." + path[len(path)-maxShown/2:]
	}
	if plain {
		return path
	}
	return strconv.QuoteToASCII(path)
}

// refuse makes the error about one path of the tree; where the path is in a
// submodule, it says in which.
func refuse(part Part, path, hint, format string, a ...any) error {
	err := config.Errorf(config.Failed, hint, format, a...)
	err.On = show(path)
	if part.Path != "" {
		err.On += " (in submodule " + show(part.Path) + ")"
	}
	return err
}

const renameHint = "rename it, commit, and push again"

// checkName refuses names that are no plain data: those that the kernel does
// not take, those that would forge a screen, and every spelling in which some
// file system reads one of git's own names. What Windows alone dislikes is
// plain data here.
func checkName(name string, mode Mode) error {
	switch {
	case name == "":
		return errors.New("an empty name")
	case name == "." || name == "..":
		return errors.New("a name that leads out of its directory")
	case len(name) > maxName:
		return errors.New("a name of " + strconv.Itoa(len(name)) + " bytes; " + strconv.Itoa(maxName) + " are allowed")
	}
	for i := 0; i < len(name); i++ {
		switch c := name[i]; {
		case c == '/':
			return errors.New("a name with a slash in it")
		case c < ' ' || c == 0x7f:
			return errors.New("a name with a control character in it")
		case c == '\\':
			return errors.New("a name with a backslash in it")
		}
	}
	return checkGitName(name, mode)
}

// gitFile is one of the files that git reads for itself. short is the
// beginning of the name that NTFS makes for it where the usual one is taken.
type gitFile struct{ name, long, short string }

// checkGitName knows the spellings by what HFS+ ignores (HFS), by what NTFS
// drops at the end of a name, and by NTFS's short names.
func checkGitName(name string, mode Mode) error {
	folded := fold(name)
	if hasNTFS(folded, ".git") || strings.HasPrefix(folded, "git~") && len(folded) > 4 && '0' <= folded[4] && folded[4] <= '9' {
		return errors.New("a name that git takes for its own directory")
	}
	for _, f := range []gitFile{
		{".gitmodules", "gitmod~", "gi7eba"},
		{".gitattributes", "gitatt~", "gi7d29"},
		{".gitignore", "gitign~", "gi250a"},
	} {
		if name == f.name {
			if mode == Regular || mode == Executable {
				continue
			}
			return errors.New("a " + f.name + " that is not a plain file")
		}
		if hasNTFS(folded, f.name) || hasShort(folded, f) {
			return errors.New("a name that some systems take for " + f.name)
		}
	}
	return nil
}

// hasNTFS says whether NTFS opens want under the folded name: it drops spaces
// and dots at the end, and what follows a colon names a stream of the file.
func hasNTFS(folded, want string) bool {
	rest, ok := strings.CutPrefix(folded, want)
	if !ok {
		return false
	}
	rest, _, _ = strings.Cut(rest, ":")
	return strings.Trim(rest, " .") == ""
}

// hasShort says whether the folded name may be the short name that NTFS makes
// for f: six characters, ~1 to ~4, or a hash of the name with any number.
func hasShort(folded string, f gitFile) bool {
	if rest, ok := strings.CutPrefix(folded, f.long); ok && rest != "" && '1' <= rest[0] && rest[0] <= '4' {
		rest, _, _ = strings.Cut(rest[1:], ":")
		return strings.Trim(rest, " .") == ""
	}
	head, tail, ok := strings.Cut(folded, "~")
	if !ok || !strings.HasPrefix(f.short, head) {
		return false
	}
	digits := 0
	for digits < len(tail) && '0' <= tail[digits] && tail[digits] <= '9' {
		digits++
	}
	if digits == 0 || tail[0] == '0' || len(head)+1+digits != 8 {
		return false
	}
	rest, _, _ := strings.Cut(tail[digits:], ":")
	return strings.Trim(rest, " .") == ""
}

// fold drops the characters that HFS+ ignores in names and folds ASCII case.
// Git folds no more than that either: none of its names has other letters.
func fold(name string) string {
	ascii := true
	for i := 0; i < len(name); i++ {
		if name[i] >= utf8.RuneSelf {
			ascii = false
			break
		}
	}
	if ascii {
		return strings.ToLower(name)
	}
	var b strings.Builder
	for _, r := range name {
		switch {
		case r >= 0x200c && r <= 0x200f, r >= 0x202a && r <= 0x202e, r >= 0x206a && r <= 0x206f, r == 0xfeff:
		case r >= 'A' && r <= 'Z':
			b.WriteRune(r + 'a' - 'A')
		case r == 0x212a: // the Kelvin sign folds to k, as HFS+ has it
			b.WriteByte('k')
		case r == 0x017f: // the long s folds to s
			b.WriteByte('s')
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}
