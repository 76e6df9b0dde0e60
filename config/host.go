package config

import (
	"net"
	"strconv"
	"strings"
)

// Host is a machine to log in to by SSH.
type Host struct {
	User string // "" if none was named
	Name string // a DNS name or an IP address, without brackets
	Port int    // 22 if none was named
}

// ParseHost accepts [user@]host[:port], with IPv6 addresses in brackets.
func ParseHost(s string) (Host, error) {
	var u SourceURL
	u.scheme = "ssh"
	text := ""
	switch {
	case len(s) > maxURL:
		text = "too long"
	case strings.ContainsAny(s, "/?#"):
		text = "not a host alone"
	default:
		text = u.setAuthority(s, true)
	}
	if text != "" {
		return Host{}, &Error{
			Kind: Usage, Op: "parse", On: "host " + quote(redactURL(s)), Err: errText(text),
			Hint: "such as deploy@app1.example.com:2200",
		}
	}
	return Host{User: u.user, Name: u.host, Port: u.Port()}, nil
}

// Addr is host:port, as net.Dial takes it.
func (h Host) Addr() string { return net.JoinHostPort(h.Name, strconv.Itoa(h.Port)) }

// String is what ParseHost reads, without the default port.
func (h Host) String() string {
	return SourceURL{scheme: "ssh", user: h.User, host: h.Name, port: portUnless(h.Port, 22)}.authority()
}

func portUnless(port, def int) int {
	if port == def {
		return 0
	}
	return port
}

// checkListen accepts host:port to listen on, the host empty, a name or an
// address, the port 0 (any free one) to 65535.
func checkListen(s string) (text string) {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return "not host:port"
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || port != strconv.FormatUint(n, 10) {
		return "the port is not a number from 0 to 65535"
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if host != "" {
		_, text = canonicalHost(host)
	}
	return text
}
