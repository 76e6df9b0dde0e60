package config

import (
	"net"
	"strconv"
	"strings"
)

// SourceURL is the canonical URL of a git repository on an internal server, or
// a prefix of such URLs: scheme ssh or https, no password, no query, no
// fragment, no dot segments, no control bytes, the default port left out. Two
// values are the same URL exactly if they are equal by ==.
type SourceURL struct {
	scheme, user, host string // host without brackets
	port               int    // 0 is the scheme's own
	path               string // "/" or "/a/b", never with a slash at its end
}

// Resolve returns the URL that a relative one (./x, ../x) means below u, as
// git-submodule resolves it: each leading ../ takes one segment off u, a slash
// at the end is dropped; dots that lead above the host, or stand anywhere but
// in front, are an error.
func (u SourceURL) Resolve(relative string) (SourceURL, error) {
	refuse := func(text, hint string) (SourceURL, error) {
		return SourceURL{}, badURL("resolve", relative, text, hint)
	}
	switch {
	case u.IsZero():
		return refuse("there is no URL that it is relative to", "set upstream for the app, or use an absolute URL")
	case !IsRelativeURL(relative):
		return refuse("not a relative URL", "a relative URL begins with ./ or ../")
	case len(relative) > maxURL:
		return refuse("longer than "+strconv.Itoa(maxURL)+" bytes", "")
	}
	base, rest := strings.TrimSuffix(u.path, "/"), relative
	for {
		if cut, ok := strings.CutPrefix(rest, "./"); ok {
			rest = cut
			continue
		}
		cut, ok := strings.CutPrefix(rest, "../")
		if !ok {
			break
		}
		if base == "" {
			return refuse("leads above the host of "+u.Short(), "use fewer ../, or an absolute URL")
		}
		base, rest = base[:strings.LastIndexByte(base, '/')], cut
	}
	if rest != "" {
		base += "/" + rest
	}
	path, text := canonicalPath(u.scheme, base)
	if text != "" {
		return refuse(text, "")
	}
	u.path = path
	if len(u.String()) > maxURL {
		return refuse("longer than "+strconv.Itoa(maxURL)+" bytes", "")
	}
	return u, nil
}

// IsRelativeURL says whether git takes s, the URL of a submodule, as relative
// to the URL of the repository that names it.
func IsRelativeURL(s string) bool {
	return strings.HasPrefix(s, "./") || strings.HasPrefix(s, "../")
}

// Covers says whether v is u itself or lies below it at a path border. A .git
// at the end makes no difference between two URLs that are otherwise equal, as
// servers serve a repository under both.
func (u SourceURL) Covers(v SourceURL) bool {
	if u.IsZero() || u.scheme != v.scheme || u.user != v.user || u.host != v.host || u.port != v.port {
		return false
	}
	return u.path == "/" || strings.HasPrefix(v.path, u.path+"/") ||
		strings.TrimSuffix(u.path, ".git") == strings.TrimSuffix(v.path, ".git")
}

// String returns the canonical spelling, ssh always as ssh://. The zero value
// is "".
func (u SourceURL) String() string {
	if u.IsZero() {
		return ""
	}
	return u.scheme + "://" + u.authority() + u.path
}

func (u SourceURL) authority() string {
	user := u.user
	if user != "" {
		user += "@"
	}
	return user + u.hostPort()
}

func (u SourceURL) hostPort() string {
	s := u.host
	if strings.Contains(s, ":") {
		s = "[" + s + "]"
	}
	if u.port != 0 {
		s += ":" + strconv.Itoa(u.port)
	}
	return s
}

// Short returns host and path, as lists show it: git.corp.local/web/ui.git. A
// port is there only if it is not the scheme's own.
func (u SourceURL) Short() string { return u.hostPort() + u.path }

func (u SourceURL) Scheme() string { return u.scheme }
func (u SourceURL) User() string   { return u.user }

// Host is a name, or an IP address without brackets.
func (u SourceURL) Host() string { return u.host }

// Port is the port to dial: the scheme's own where the URL names none.
func (u SourceURL) Port() int {
	if u.port == 0 {
		return defaultPort(u.scheme)
	}
	return u.port
}

// Path begins with a slash and ends with one only if it is "/". Bytes that are
// not plain in a URL are percent-encoded in it.
func (u SourceURL) Path() string { return u.path }

// Addr is host:port, as net.Dial takes it (brackets around IPv6).
func (u SourceURL) Addr() string { return net.JoinHostPort(u.host, strconv.Itoa(u.Port())) }

func (u SourceURL) IsZero() bool                 { return u.host == "" }
func (u SourceURL) MarshalText() ([]byte, error) { return []byte(u.String()), nil }
func (u *SourceURL) UnmarshalText(b []byte) error {
	v, err := ParseSourceURL(string(b))
	*u = v
	return err
}

func defaultPort(scheme string) int {
	if scheme == "https" {
		return 443
	}
	return 22
}
