package config

import (
	"net/netip"
	"strconv"
	"strings"
)

// maxURL is the longest URL in bytes: git has taken overlong lines of its own
// configuration apart wrongly.
const maxURL = 512

var (
	// userName is a login on a server; '%' is left out so that nothing is
	// decoded in it.
	userName = NewPattern(`^[A-Za-z0-9_][A-Za-z0-9_.+-]{0,63}$`)
	label    = NewPattern(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	helper   = NewPattern(`^[A-Za-z0-9+.-]*::`)
	scheme   = NewPattern(`^([A-Za-z][A-Za-z0-9+.-]*)://`)
)

const urlForms = "use ssh://user@host/path, user@host:path or https://host/path"

// ParseSourceURL accepts ssh://[user@]host[:port]/path, [user@]host:path and
// https://[user@]host[:port]/path. Everything else (file, ext, git, http,
// local paths, options in disguise, encoded control bytes, passwords, more
// than 512 bytes) is an error that says which rule it broke, never echoing a
// password.
//
// host:path means ssh://host/path here, whether or not its path begins with a
// slash: servers that hold repositories for many take both as the same, and one
// spelling makes one cache entry. Paths of a home (~user) are refused for ssh,
// as they are a second name of what an absolute path names.
func ParseSourceURL(s string) (SourceURL, error) {
	u, text, hint := parseURL(s)
	if text == "" && len(u.String()) > maxURL {
		text = "longer than " + strconv.Itoa(maxURL) + " bytes"
	}
	if text != "" {
		return SourceURL{}, badURL("parse", s, text, hint)
	}
	return u, nil
}

// parseURL returns what is wrong in text, "" if nothing is.
func parseURL(s string) (u SourceURL, text, hint string) {
	var authority, path string
	m := scheme.FindStringSubmatch(s)
	switch {
	case s == "":
		return u, "empty", urlForms
	case len(s) > maxURL:
		return u, "longer than " + strconv.Itoa(maxURL) + " bytes", ""
	case helper.MatchString(s):
		return u, "a remote helper, which runs a program", urlForms
	case m != nil && m[1] != "ssh" && m[1] != "https":
		return u, "scheme " + strconv.QuoteToASCII(m[1]) + " is not allowed", "only ssh and https are"
	case m != nil:
		u.scheme = m[1]
		rest := s[len(m[0]):]
		end := strings.IndexAny(rest, "/?#\\")
		if end < 0 {
			end = len(rest)
		}
		authority, path = rest[:end], rest[end:]
		if path == "" {
			path = "/"
		}
	default:
		u.scheme = "ssh"
		if authority, path, text = splitScp(s); text != "" {
			return u, text, urlForms
		}
	}
	if text := u.setAuthority(authority, m != nil); text != "" {
		return u, text, urlForms
	}
	u.path, text = canonicalPath(u.scheme, path)
	return u, text, ""
}

// splitScp takes [user@]host:path apart.
func splitScp(s string) (authority, path, text string) {
	at := strings.IndexByte(s, ':')
	if open := strings.IndexByte(s, '['); open >= 0 && open < at { // an IPv6 address has colons of its own
		end := strings.Index(s, "]:")
		if end < 0 {
			return "", "", "no host:path"
		}
		at = end + 1
	}
	if at < 0 || strings.Contains(s[:at], "/") {
		return "", "", "a local path"
	}
	authority, path = s[:at], s[at+1:]
	first, _, _ := strings.Cut(path, "/")
	switch {
	case strings.Contains(first, "@"):
		return "", "", "has a password in it"
	case len(authority) == 1:
		return "", "", "a drive letter"
	case path == "":
		return "", "", "no path after the host"
	case path[0] == '-':
		return "", "", "the path begins with '-'"
	case path[0] != '/':
		path = "/" + path
	}
	return authority, path, ""
}

// setAuthority parses [user@]host[:port]; in scp's form there is no port.
func (u *SourceURL) setAuthority(s string, port bool) (text string) {
	if at := strings.LastIndexByte(s, '@'); at >= 0 {
		u.user, s = s[:at], s[at+1:]
		switch {
		case strings.Contains(u.user, ":"):
			return "has a password in it"
		case !userName.MatchString(u.user):
			return "not a valid user name before '@'"
		}
	}
	host, digits := s, ""
	if colon := strings.LastIndexByte(s, ':'); port && colon > strings.LastIndexByte(s, ']') {
		host, digits = s[:colon], s[colon+1:]
		n, err := strconv.ParseUint(digits, 10, 16)
		if err != nil || n == 0 || digits[0] == '0' || digits[0] == '+' {
			return "the port is not a number from 1 to 65535"
		}
		if int(n) != defaultPort(u.scheme) {
			u.port = int(n)
		}
	}
	u.host, text = canonicalHost(host)
	return text
}

// canonicalHost lower-cases a DNS name, or an IP address with IPv6 in brackets,
// and returns it without brackets.
func canonicalHost(s string) (host, text string) {
	if strings.HasPrefix(s, "[") {
		a, err := netip.ParseAddr(strings.TrimSuffix(s[1:], "]"))
		if err != nil || !strings.HasSuffix(s, "]") || !a.Is6() || a.Zone() != "" {
			return "", "not an IPv6 address in brackets"
		}
		return a.String(), ""
	}
	switch {
	case s == "":
		return "", "no host"
	case s[0] == '-':
		return "", "the host begins with '-'"
	case strings.HasSuffix(s, "."):
		return "", "the host ends with '.'"
	case len(s) > 253:
		return "", "the host is longer than 253 bytes"
	}
	// Only the 26 letters, as a letter of another script may have one of them
	// as its lower case.
	host = strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
	labels := strings.Split(host, ".")
	for _, l := range labels {
		if !label.MatchString(l) {
			return "", "the host is not a name of a-z, 0-9, '-' and '.'"
		}
	}
	// inet_aton reads 127.1 and 0x7f000001 as addresses, which would be a
	// second name of one host.
	if last := labels[len(labels)-1]; isNumber(last) {
		if a, err := netip.ParseAddr(host); err != nil || !a.Is4() {
			return "", "the host is not an IPv4 address of four numbers"
		}
	}
	return host, ""
}

func isNumber(label string) bool {
	_, err := strconv.ParseUint(label, 0, 64)
	return err == nil || strings.HasPrefix(label, "0x") || strings.Trim(label, "0123456789") == ""
}

// canonicalPath checks every segment of a path that begins with a slash, and
// brings it to one spelling: no slash at its end, percent-encoding only where
// it is needed, in upper case.
func canonicalPath(scheme, s string) (path, text string) {
	if s == "" || s == "/" {
		return "/", ""
	}
	if s[0] != '/' {
		return "", "no '/' after the host"
	}
	segments := strings.Split(strings.TrimSuffix(s[1:], "/"), "/")
	for i, seg := range segments {
		plain, text := canonicalSegment(seg)
		switch {
		case text != "":
			return "", text
		case plain == "":
			return "", "an empty path segment ('//')"
		case plain == "." || plain == "..":
			return "", "'.' or '..' as a path segment"
		case i == 0 && plain[0] == '-':
			return "", "the path begins with '-'"
		case i == 0 && plain[0] == '~' && scheme == "ssh":
			return "", "a path in a home ('~'); use the whole path"
		}
		segments[i] = plain
	}
	return "/" + strings.Join(segments, "/"), ""
}

func canonicalSegment(s string) (plain, text string) {
	const hex, unreserved, marks = "0123456789ABCDEF", "-_.~", "!$&'()*+,;=:@"
	isPlain := func(c byte, also string) bool {
		return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || strings.IndexByte(also, c) >= 0
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '?' || c == '#':
			return "", "a query or a fragment ('?', '#')"
		case c == '%':
			if i+2 >= len(s) {
				return "", "'%' without two hexadecimal digits"
			}
			n, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
			if err != nil {
				return "", "'%' without two hexadecimal digits"
			}
			i += 2
			switch d := byte(n); {
			case d < 0x20 || d == 0x7f:
				return "", "an encoded control byte"
			case strings.IndexByte(`/\.%`, d) >= 0:
				return "", "an encoded '/', '\\', '.' or '%'"
			case isPlain(d, unreserved):
				b.WriteByte(d)
			default:
				b.Write([]byte{'%', hex[d>>4], hex[d&15]})
			}
		case isPlain(c, unreserved+marks):
			b.WriteByte(c)
		case c < 0x20 || c == 0x7f:
			return "", "a control byte"
		case c >= 0x80:
			return "", "a byte that is not ASCII; percent-encode it"
		default:
			return "", "the character " + strconv.Quote(string(rune(c)))
		}
	}
	return b.String(), ""
}

// badURL shows the URL quoted and without any userinfo.
func badURL(op, s, text, hint string) error {
	return &Error{Kind: Usage, Op: op, On: "URL " + quote(redactURL(s)), Err: errText(text), Hint: hint}
}

// redactURL takes out all that could be a password or a token, which may itself
// have slashes and '@' in it when whoever wrote it forgot to encode them. What
// stays is the login of an ssh URL.
func redactURL(s string) string {
	from := 0
	if i := strings.Index(s, "://"); i >= 0 {
		from = i + len("://")
	}
	at := strings.LastIndexByte(s, '@')
	if at <= from || (from == 0 || s[:from] == "ssh://") && userName.MatchString(s[from:at]) {
		return s
	}
	return s[:from] + "***" + s[at:]
}

// quote shows untrusted text: quoted, escaped to ASCII, at most 80 bytes of it.
func quote(s string) string {
	const most = 80
	if len(s) > most {
		s = s[:most] + "..."
	}
	return strconv.QuoteToASCII(s)
}
