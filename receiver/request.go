package receiver

import (
	"errors"
	"strconv"
	"strings"

	"slipway/config"
)

// What a request may take. A git request is a name and a path; vars may be as
// long as SSH's largest packet carries.
const (
	maxCommand    = 256 << 10
	maxGitCommand = 4 << 10
	maxWords      = 4096
)

// request is what a client asked for, parsed whole: either a git service on a
// repository, or the words of a command. No words are the greeting.
type request struct {
	service Service // "" for a command
	repo    config.AppEnv
	words   []string
}

// services are git's names for what it may ask for, with and without its dash.
func serviceOf(words []string) (name string, operands []string) {
	switch {
	case len(words) == 0:
		return "", nil
	case words[0] == "git" && len(words) > 1:
		name, operands = words[1], words[2:]
	case strings.HasPrefix(words[0], "git-"):
		name, operands = strings.TrimPrefix(words[0], "git-"), words[1:]
	}
	return name, operands
}

// looksLikeGit says whether the other side is a git client that reads
// pkt-lines, whatever else is wrong with the request.
func looksLikeGit(raw string) bool {
	raw = strings.TrimLeft(raw, " ")
	for _, s := range []string{"receive-pack", "upload-pack", "upload-archive"} {
		if strings.HasPrefix(raw, "git-"+s) || strings.HasPrefix(raw, "git "+s) {
			return true
		}
	}
	return false
}

// parseRequest parses the string of an SSH exec request. It is the one parser:
// what it returns is what is authorised and what is run.
func parseRequest(raw string) (request, error) {
	if len(raw) > maxCommand || looksLikeGit(raw) && len(raw) > maxGitCommand {
		return request{}, config.Errorf(config.Usage, "give long values on standard input",
			"the command is too long")
	}
	words, err := splitWords(raw)
	if err != nil {
		return request{}, err
	}
	if len(words) == 0 {
		return request{}, config.Errorf(config.Usage, "leave the command out to be greeted", "the command is empty")
	}
	switch name, operands := serviceOf(words); name {
	case "":
	case "receive-pack", "upload-pack":
		ae, err := parseRepo(name, operands)
		return request{service: Service(name), repo: ae}, err
	case "upload-archive":
		return request{}, config.Errorf(config.Denied, "git clone, then git archive in the clone",
			"archives are not served")
	case "lfs-authenticate", "lfs-transfer":
		return request{}, config.Errorf(config.Denied,
			"keep large files out of LFS, or set [build] lfs = \"pointers\" in slipway.toml",
			"Git LFS is not served here")
	default:
		return request{}, config.Errorf(config.Usage, "git push, fetch and clone are served",
			"git has no service %s here", quote(name))
	}
	switch words[0] {
	case "scp", "rsync", "sftp-server", "internal-sftp":
		return request{}, config.Errorf(config.Denied, "deploy files with git push", "no files are copied by %s here", words[0])
	}
	return request{words: words}, nil
}

// parseRepo takes the one operand of a git service: APP/ENV, as any spelling
// of the remote gives it.
func parseRepo(service string, operands []string) (config.AppEnv, error) {
	const hint = "git names one repository: ssh://deploy@HOST/APP/ENV"
	if len(operands) != 1 {
		return config.AppEnv{}, config.Errorf(config.Usage, hint, "git-%s takes one repository", service)
	}
	path := operands[0]
	if strings.HasPrefix(path, "-") {
		return config.AppEnv{}, config.Errorf(config.Usage, hint, "git-%s takes no options", service)
	}
	short := strings.TrimPrefix(path, "/")
	short = strings.TrimSuffix(short, "/")
	short = strings.TrimSuffix(short, ".git")
	ae, err := config.ParseAppEnv(short)
	if err != nil {
		return config.AppEnv{}, config.Errorf(config.Usage,
			"a remote ends in APP/ENV, two names of a-z, 0-9 and '-', such as shop/prod",
			"%s is not APP/ENV", quote(path))
	}
	return ae, nil
}

// splitWords splits as a shell does a line that holds nothing but words:
// single quotes, double quotes and backslashes. What a shell would act upon is
// refused, as the sender expects that to happen and it will not.
func splitWords(raw string) ([]string, error) {
	var (
		words  []string
		word   strings.Builder
		inWord bool
	)
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case c == 0:
			return nil, badByte(c)
		case c == ' ' || c == '\t':
			if inWord {
				words = append(words, word.String())
				word.Reset()
				inWord = false
			}
			if len(words) > maxWords {
				return nil, config.Errorf(config.Usage, "", "the command has more than %d words", maxWords)
			}
		case c == '\'':
			n := strings.IndexByte(raw[i+1:], '\'')
			if n < 0 {
				return nil, errUnbalanced()
			}
			if strings.IndexByte(raw[i+1:i+1+n], 0) >= 0 {
				return nil, badByte(0)
			}
			word.WriteString(raw[i+1 : i+1+n])
			inWord = true
			i += n + 1
		case c == '"':
			n, err := doubleQuoted(&word, raw[i+1:])
			if err != nil {
				return nil, err
			}
			inWord = true
			i += n
		case c == '\\':
			i++
			if i == len(raw) {
				return nil, errUnbalanced()
			}
			if raw[i] < ' ' || raw[i] == 0x7f {
				return nil, badByte(raw[i])
			}
			word.WriteByte(raw[i])
			inWord = true
		case c < ' ' || c == 0x7f || strings.IndexByte("$`;|&<>", c) >= 0:
			return nil, badByte(c)
		default:
			word.WriteByte(c)
			inWord = true
		}
	}
	if inWord {
		words = append(words, word.String())
	}
	return words, nil
}

// doubleQuoted appends to word what stands before the closing quote and
// returns how many bytes of s it took, that quote included.
func doubleQuoted(word *strings.Builder, s string) (int, error) {
	for i := 0; i < len(s); i++ {
		switch c := s[i]; c {
		case '"':
			return i + 1, nil
		case 0, '$', '`':
			return 0, badByte(c)
		case '\\':
			if i+1 < len(s) && strings.IndexByte("\"\\$`", s[i+1]) >= 0 {
				i++
			}
			word.WriteByte(s[i])
		default:
			word.WriteByte(c)
		}
	}
	return 0, errUnbalanced()
}

func badByte(c byte) error {
	return config.Errorf(config.Usage,
		"no shell reads it: quote once more, such as ssh HOST \"vars set shop/prod 'KEY=a b'\"",
		"the command has an unquoted %s", quote(string(rune(c))))
}

func errUnbalanced() error {
	return config.Errorf(config.Usage, "close each ' and \"", "%w", errors.New("the command ends within quotes"))
}

// quote shows untrusted text: escaped to ASCII, at most 80 bytes of it.
func quote(s string) string {
	if len(s) > 80 {
		s = s[:80] + "..."
	}
	return strconv.QuoteToASCII(s)
}
