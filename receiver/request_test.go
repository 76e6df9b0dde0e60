package receiver

import (
	"reflect"
	"strings"
	"testing"

	"slipway/config"
)

func TestParseRequest(t *testing.T) {
	git := func(service Service, repo string) request {
		ae, err := config.ParseAppEnv(repo)
		must(t, err)
		return request{service: service, repo: ae}
	}
	words := func(w ...string) request { return request{words: w} }
	for _, c := range []struct {
		name, raw string
		want      request
	}{
		{"push", "git-receive-pack 'shop/prod'", git(ReceivePack, "shop/prod")},
		{"B24 space form", "git receive-pack 'shop/prod'", git(ReceivePack, "shop/prod")},
		{"B25 fetch", "git-upload-pack '/shop/prod'", git(UploadPack, "shop/prod")},
		{"B28 .git", "git-upload-pack '/shop/prod.git'", git(UploadPack, "shop/prod")},
		{"trailing slash", "git-upload-pack 'shop/prod.git/'", git(UploadPack, "shop/prod")},
		{"no quotes", "git-upload-pack shop/prod", git(UploadPack, "shop/prod")},
		{"double quotes", `git-upload-pack "shop/prod"`, git(UploadPack, "shop/prod")},
		{"words", "vars list shop/prod", words("vars", "list", "shop/prod")},
		{"spaces and tabs", "  vars \t list  ", words("vars", "list")},
		{"empty words", `a '' ""`, words("a", "", "")},
		{"joined quotes", `a'b c'"d e"f`, words("ab cd ef")},
		{"git's own quoting", `x 'it'\''s' 'a'\!'b'`, words("x", "it's", "a!b")},
		{"lines in quotes", "vars set shop/prod 'KEY=-----BEGIN\nx\n'", words("vars", "set", "shop/prod", "KEY=-----BEGIN\nx\n")},
		{"dollar in single quotes", `a '$x;` + "`id`'", words("a", "$x;`id`")},
		{"escapes in double quotes", `a "\$\"\\\` + "`" + `\n"`, words("a", `$"\`+"`"+`\n`)},
		{"escaped space", `a b\ c\;d`, words("a", "b c;d")},
		{"globs", "key add x --allow shop/* --allow */dev", words("key", "add", "x", "--allow", "shop/*", "--allow", "*/dev")},
		{"bytes beyond ASCII", "vars set shop/prod K=\xc3\xa9\xff", words("vars", "set", "shop/prod", "K=\xc3\xa9\xff")},
		{"long value", "vars set shop/prod 'K=" + strings.Repeat("x", 200<<10) + "'", words("vars", "set", "shop/prod", "K="+strings.Repeat("x", 200<<10))},
	} {
		got, err := parseRequest(c.raw)
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: got %v, %v", c.name, got, err)
		}
	}
	for _, c := range []struct {
		name, raw, text string
		kind            config.Kind
	}{
		{"B19 one name", "git-receive-pack 'nosuch'", `"nosuch" is not APP/ENV`, config.Usage},
		{"B21 above", "git-receive-pack '../other'", `"../other" is not APP/ENV`, config.Usage},
		{"B21 absolute", "git-receive-pack '/etc'", "is not APP/ENV", config.Usage},
		{"B21 dots", "git-receive-pack 'a/../b'", "is not APP/ENV", config.Usage},
		{"B21 dots below", "git-receive-pack 'shop/..'", "is not APP/ENV", config.Usage},
		{"B21 home", "git-receive-pack '~root/x'", "is not APP/ENV", config.Usage},
		{"two slashes", "git-receive-pack '//shop/prod'", "is not APP/ENV", config.Usage},
		{"three names", "git-receive-pack 'shop/prod/x'", "is not APP/ENV", config.Usage},
		{"B22 semicolon quoted", "git-receive-pack 'app;id'", "is not APP/ENV", config.Usage},
		{"B22 semicolon", "git-receive-pack app;id", `unquoted ";"`, config.Usage},
		{"B22 backtick", "git-receive-pack `id`", "unquoted \"`\"", config.Usage},
		{"B22 substitution", "git-receive-pack $(id)", `unquoted "$"`, config.Usage},
		{"B22 substitution in quotes", `git-receive-pack "$(id)"`, `unquoted "$"`, config.Usage},
		{"B22 two operands", "git-receive-pack 'a' 'b'", "takes one repository", config.Usage},
		{"no operand", "git-receive-pack", "takes one repository", config.Usage},
		{"B22 unbalanced", "git-receive-pack 'shop/prod", "ends within quotes", config.Usage},
		{"B22 unbalanced double", `vars list "shop/prod`, "ends within quotes", config.Usage},
		{"B22 lone backslash", `vars list shop/prod\`, "ends within quotes", config.Usage},
		{"B22 NUL", "git-receive-pack shop/prod\x00", `unquoted "\x00"`, config.Usage},
		{"B22 NUL in quotes", "a 'b\x00'", `"\x00"`, config.Usage},
		{"B22 NUL in double quotes", "a \"b\x00\"", `"\x00"`, config.Usage},
		{"B22 newline", "releases shop/prod\nid", `unquoted "\n"`, config.Usage},
		{"escaped newline", "releases \\\nid", `unquoted "\n"`, config.Usage},
		{"pipe", "logs shop/prod | x", `unquoted "|"`, config.Usage},
		{"ampersand", "logs shop/prod & x", `unquoted "&"`, config.Usage},
		{"less", "vars set shop/prod K < x", `unquoted "<"`, config.Usage},
		{"greater", "logs shop/prod > x", `unquoted ">"`, config.Usage},
		{"carriage return", "logs shop/prod\r", `unquoted "\r"`, config.Usage},
		{"escape", "logs \x1b[2J", `unquoted "\x1b"`, config.Usage},
		{"B23 option before", "git-receive-pack --help 'app'", "takes one repository", config.Usage},
		{"B23 short option", "git-receive-pack '-x'", "takes no options", config.Usage},
		{"B23 long option", "git-receive-pack --upload-pack=x", "takes no options", config.Usage},
		{"B26 archive", "git-upload-archive 'shop/prod'", "archives are not served", config.Denied},
		{"B26 LFS authenticate", "git-lfs-authenticate shop/prod upload", "LFS is not served", config.Denied},
		{"B26 LFS transfer", "git-lfs-transfer shop/prod upload", "LFS is not served", config.Denied},
		{"B26 LFS space form", "git lfs-authenticate shop/prod upload", "LFS is not served", config.Denied},
		{"shell of git", "git-shell -c x", `no service "shell"`, config.Usage},
		{"git status", "git status", `no service "status"`, config.Usage},
		{"B12 scp", "scp -t /", "no files are copied by scp", config.Denied},
		{"B27 long", "git-receive-pack '" + strings.Repeat("a", 5<<10) + "'", "too long", config.Usage},
		{"B27 longer", strings.Repeat("a", 257<<10), "too long", config.Usage},
		{"too many words", strings.Repeat("a ", 5000), "more than", config.Usage},
		{"B28 upper case", "git-receive-pack 'Shop/prod'", "is not APP/ENV", config.Usage},
		{"B28 no environment", "git-receive-pack 'shop/'", "is not APP/ENV", config.Usage},
		{"B28 beyond ASCII", "git-receive-pack 'sh\u00f6p/prod'", `"sh\u00f6p/prod" is not`, config.Usage},
		{"B28 long name", "git-receive-pack '" + strings.Repeat("a", 64) + "/prod'", "is not APP/ENV", config.Usage},
		{"B30 homoglyph", "git-receive-pack 'sh\u043ep/prod'", `\u043e`, config.Usage},
		{"B30 zero width", "git-receive-pack 'shop\u200b/prod'", `\u200b`, config.Usage},
		{"empty", "", "is empty", config.Usage},
		{"blank", " \t ", "is empty", config.Usage},
	} {
		got, err := parseRequest(c.raw)
		if err == nil {
			t.Errorf("%s: got %v", c.name, got)
			continue
		}
		contains(t, c.name, err.Error(), c.text)
		if config.KindOf(err) != c.kind {
			t.Errorf("%s: kind %v", c.name, config.KindOf(err))
		}
	}
}

func FuzzParseRequest(f *testing.F) {
	for _, s := range []string{
		"git-receive-pack 'shop/prod'", "git upload-pack \"/shop/prod.git/\"", `x 'it'\''s' "a\"b" c\ d`,
		"vars set a/b 'K=\n'", "a $b", "'", "\\", "\x00",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		r, err := parseRequest(raw)
		if err != nil {
			if config.KindOf(err) != config.Usage && config.KindOf(err) != config.Denied {
				t.Errorf("%q: kind of %v", raw, err)
			}
			return
		}
		if r.service != "" {
			if _, err := config.ParseAppEnv(r.repo.String()); err != nil || len(r.words) != 0 {
				t.Errorf("%q: %+v", raw, r)
			}
			return
		}
		if len(r.words) == 0 {
			t.Fatalf("%q has no words and no error", raw)
		}
		// Quoted as git quotes, the words come back as they are.
		var quoted []string
		for _, w := range r.words {
			if strings.Contains(w, "\x00") {
				t.Fatalf("%q: NUL came through", raw)
			}
			quoted = append(quoted, "'"+strings.ReplaceAll(w, "'", `'\''`)+"'")
		}
		if again, err := splitWords(strings.Join(quoted, " ")); err != nil || !reflect.DeepEqual(again, r.words) {
			t.Errorf("%q: %q, then %q, %v", raw, r.words, again, err)
		}
	})
}
