package config_test

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pelletier/go-toml/v2"

	"tokend/config"
)

const example = "../config.example.toml"

func TestExampleFile(t *testing.T) {
	t.Run("is the default", func(t *testing.T) {
		got, err := config.Load(example)
		if err != nil {
			t.Fatal(err)
		}
		want := config.Default()
		want.Listen = []string{config.DefaultListen}
		want.AllowedHosts, want.AdminUsers = []string{}, []string{} // empty lists are written out
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("has every key", func(t *testing.T) {
		var file map[string]any
		if err := toml.Unmarshal(read(t, example), &file); err != nil {
			t.Fatal(err)
		}
		delete(file, "admin")
		expectKeys(t, "", reflect.TypeFor[config.Config](), file)
	})
	t.Run("shows an admin that can be taken as it stands", func(t *testing.T) {
		block := regexp.MustCompile(`(?s)# \[\[admin\]\].*`).FindString(string(read(t, example)))
		got, err := load(t, strings.ReplaceAll(block, "# ", ""))
		if err != nil {
			t.Fatal(err)
		}
		want := []config.Admin{{Name: "ci", TokenSHA256: strings.Repeat("0", 64)}}
		if diff := cmp.Diff(want, got.Admins); diff != "" {
			t.Error(diff)
		}
		if err := got.Validate(); err != nil {
			t.Error(err)
		}
	})
}

func expectKeys(t *testing.T, path string, kind reflect.Type, file map[string]any) {
	t.Helper()
	for field := range kind.Fields() {
		key := field.Tag.Get("toml")
		value, ok := file[key]
		if !ok && key != "admin" {
			t.Errorf("%s%s is missing", path, key)
		}
		if table, ok := value.(map[string]any); ok {
			expectKeys(t, path+key+".", field.Type, table)
		}
	}
}

func TestDefaultIsValid(t *testing.T) {
	if err := config.Default().Validate(); err != nil {
		t.Error(err)
	}
}

func TestLoad_refuses(t *testing.T) {
	for _, c := range []struct{ name, file, want string }{
		{"an unknown key", "listen = []\nlistne = []\n", `c.toml:2:1: unknown key "listne"`},
		{"an unknown key in a table", "[store]\n  min_free = 1\n", `c.toml:2:3: unknown key "store.min_free"`},
		{"two unknown keys", "a = 1\nb = 2\n", "c.toml:1:1: unknown key \"a\"\nc.toml:2:1: unknown key \"b\""},
		{"a key in another case", "Listen = []\n", `c.toml:1:1: unknown key "Listen"`},
		{"a key in another case in a table", "[store]\nmin_free_bytes = 1\nMin_free_bytes = 1\n", `c.toml:3:1: unknown key "Min_free_bytes"`},
		{"a table in another case", "[Store]\n", `c.toml:1:2: unknown key "Store"`},
		{"a key in another case in an inline table", "timeouts = { Idle = \"1s\" }\n", `c.toml:1:14: unknown key "Idle"`},
		{"a key in another case in an array of tables", "admin = [{ Name = \"a\" }]\n", `c.toml:1:12: unknown key "Name"`},
		{"a wrong type", "\nlisten = 5\n", "c.toml:2:10: listen has the wrong type; config.example.toml shows the right one"},
		{"no TOML", "listen = [\n", "c.toml:1:11: toml: "},
		{"a key twice", "data_dir = \"a\"\ndata_dir = \"b\"\n", "c.toml:2:1: toml: "},
		{"a negative size", "[store]\nmin_free_bytes = -1\n", "c.toml:2:18: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := load(t, c.file)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v\nwant %s", err, c.want)
			}
		})
	}
	t.Run("a missing file", func(t *testing.T) {
		_, err := config.Load(filepath.Join(t.TempDir(), "none.toml"))
		if err == nil || !strings.Contains(err.Error(), "none.toml: no such file or directory") {
			t.Error(err)
		}
	})
}

func TestValidate(t *testing.T) {
	hash := strings.Repeat("ab", 32)
	admin := func(name, hash string) string {
		return "[[admin]]\nname = \"" + name + "\"\ntoken_sha256 = \"" + hash + "\"\n"
	}
	for _, c := range []struct{ name, file, want string }{
		{"several listeners", `listen = ["127.0.0.1:0", "[::1]:8470", "localhost:1", "unix:/run/x.sock"]`, ""},
		{"another address, knowingly", "listen = [\"0.0.0.0:8470\"]\nallow_plaintext = true", ""},
		{"another address", `listen = ["192.0.2.1:8470"]`, `listen: "192.0.2.1:8470" is not a loopback address, so tokens would cross the network in plain text`},
		{"every address", `listen = [":8470"]`, "is not a loopback address"},
		{"one address twice", `listen = ["127.0.0.1:1", "127.0.0.1:1"]`, `listen: "127.0.0.1:1" is there twice`},
		{"no address", `listen = []`, "listen is empty"},
		{"no port", `listen = ["127.0.0.1"]`, `listen: "127.0.0.1" is not host:port or unix:PATH`},
		{"a wrong port", `listen = ["127.0.0.1:99999"]`, `has the port "99999"; 0 to 65535 are allowed`},
		{"a name", `listen = ["example.com:80"]`, `has the host "example.com"; an IP address or localhost is expected`},
		{"no socket path", `listen = ["unix:"]`, "has no path"},
		{"an abstract socket", `listen = ["unix:@tokend"]`, "has no path"},
		{"allowed hosts", `allowed_hosts = ["a.example", "b_1"]`, ""},
		{"an allowed host with a port", `allowed_hosts = ["a:80"]`, `allowed_hosts: "a:80" is not the name of a host, without scheme and port`},
		{"an empty allowed host", `allowed_hosts = [""]`, `allowed_hosts: "" is not the name`},
		{"no data folder", `data_dir = ""`, "data_dir is empty"},
		{"administrators on the machine", "admin_socket = \"/run/x.sock\"\nadmin_users = [\"daemon\", \"1000\"]", ""},
		{"users without a socket", `admin_users = ["daemon"]`, "admin_users: there is no admin_socket"},
		{"an address for a path", `admin_socket = "unix:/run/x.sock"`, `admin_socket: "unix:/run/x.sock" is not a path`},
		{"one socket for all", "listen = [\"unix:/run/x.sock\"]\nadmin_socket = \"/run/x.sock\"", `admin_socket: "/run/x.sock" is in listen too`},
		{"nobody", "admin_socket = \"/run/x.sock\"\nadmin_users = [\"65534\"]", `admin_users: "65534" cannot be an administrator`},
		{"another address with TLS", "listen = [\"192.0.2.1:8470\"]\n[tls]\ncert_file = \"c\"\nkey_file = \"k\"", ""},
		{"a certificate without a key", "[tls]\ncert_file = \"c\"", "tls: cert_file and key_file belong together"},
		{"a key without a certificate", "[tls]\nkey_file = \"c\"", "tls: cert_file and key_file belong together"},
		{"authorities without TLS", "[tls]\nclient_ca_file = \"c\"", "tls.client_ca_file: without tls.cert_file there is no TLS"},
		{"no audit that is required", "[audit]\nenabled = false\nrequired = true", "audit: file and required mean nothing while enabled is false"},
		{"the mode of sockets", "[unix_sockets]\nmode = \"660\"", ""},
		{"no mode", "[unix_sockets]\nmode = \"rw\"", `unix_sockets.mode: "rw" is not an octal mode such as "0660"`},
		{"a mode that is too much", "[unix_sockets]\nmode = \"4755\"", `unix_sockets.mode: "4755" is not an octal mode`},
		{"metrics elsewhere, in plain text", "[metrics]\nlisten = \"192.0.2.1:9470\"", ""},
		{"metrics elsewhere with a token in plain text", "[metrics]\nlisten = \"192.0.2.1:9470\"\ntoken = true",
			`metrics.listen: "192.0.2.1:9470" is not a loopback address, so tokens would cross the network in plain text`},
		{"… and the way out", "[metrics]\nlisten = \"192.0.2.1:9470\"\ntoken = true", "or metrics.token = false"},
		{"metrics at a name", "[metrics]\nlisten = \"example.com:9470\"", `metrics.listen: "example.com:9470" has the host`},
		{"metrics where all is", "listen = [\"127.0.0.1:1\"]\n[metrics]\nlisten = \"127.0.0.1:1\"", `metrics.listen: "127.0.0.1:1" is in listen too`},
		{"metrics where all is by default", "[metrics]\nlisten = \"127.0.0.1:8470\"", `metrics.listen: "127.0.0.1:8470" is in listen too`},
		{"metrics where administrators are", "admin_socket = \"/run/x.sock\"\n[metrics]\nlisten = \"unix:/run/x.sock\"", `metrics.listen: "unix:/run/x.sock" is admin_socket too`},
		{"prefix", "[token]\nprefix = \"a_b\"", `token.prefix: "a_b" is not 1 to 16 of a-z and 0-9`},
		{"a wrong duration", "[timeouts]\nidle = \"2 minutes\"\n", `timeouts.idle: "2 minutes" is not a duration such as "10s" or "2m"`},
		{"a number without a unit", "[timeouts]\nidle = 5\n", `timeouts.idle: "5" is not a duration such as "10s" or "2m"`},
		{"no time at all", "[timeouts]\nwrite = \"0s\"", "timeouts.write: 0s is not between 10ms and 24h"},
		{"an index of less than nothing", "[store]\nmax_indexed_tokens = -1", "store.max_indexed_tokens: -1 is not between 0 and"},
		{"no connections", "[limits]\nmax_connections = 0", "limits.max_connections: 0 is not between 1 and"},
		{"level", "[log]\nlevel = \"loud\"", `log.level: "loud" is not one of debug, info, warn, error`},
		{"format", "[log]\nformat = \"xml\"", `log.format: "xml" is not one of text, json`},
		{"an admin", admin("ci", hash), ""},
		{"no admin name", admin("", hash), `admin 1: name: "" is not 1 to 64 of`},
		{"one name twice", admin("ci", hash) + admin("ci", strings.Repeat("cd", 32)), `admin 2: name: "ci" is there twice`},
		{"one token twice", admin("a", hash) + admin("b", hash), "admin 2: token_sha256: another admin has the same"},
		{"one token twice, in capitals", admin("a", hash) + admin("b", strings.ToUpper(hash)), "admin 2: token_sha256: another admin has the same"},
		{"a token instead of its hash", admin("ci", "tkdadm_secret"), "admin 1: token_sha256: it is not 64 hexadecimal digits"},
		{"all that is wrong at once", "listen = []\ndata_dir = \"\"", "data_dir is empty"},
	} {
		t.Run(c.name, func(t *testing.T) {
			loaded, err := load(t, c.file)
			if err != nil {
				t.Fatal(err)
			}
			err = loaded.Validate()
			if c.want == "" && err != nil {
				t.Error(err)
			}
			if c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("error %v\nwant %s", err, c.want)
			}
			if err != nil && strings.Contains(err.Error(), "secret") {
				t.Errorf("the error repeats a token: %v", err)
			}
		})
	}
}

func load(t *testing.T, content string) (config.Config, error) {
	t.Helper()
	t.Chdir(t.TempDir())
	if err := os.WriteFile("c.toml", []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return config.Load("c.toml")
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}
