// Package config is what an operator decides: defaults, the file, and what is
// allowed. It knows nothing of the rest of tokend.
package config

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// Config is everything that can be configured. The TOML keys are documented in
// config.example.toml, with units and reasons.
type Config struct {
	Listen         []string    `toml:"listen"` // nil: DefaultListen, unless systemd hands sockets over
	AllowPlaintext bool        `toml:"allow_plaintext"`
	AllowedHosts   []string    `toml:"allowed_hosts"`
	AdminSocket    string      `toml:"admin_socket"` // a path; empty: none
	AdminUsers     []string    `toml:"admin_users"`
	DataDir        string      `toml:"data_dir"`
	AdminTokenFile string      `toml:"admin_token_file"`
	MasterKeyFile  string      `toml:"master_key_file"`
	TLS            TLS         `toml:"tls"`
	UnixSockets    UnixSockets `toml:"unix_sockets"`
	Token          Token       `toml:"token"`
	Timeouts       Timeouts    `toml:"timeouts"`
	Limits         Limits      `toml:"limits"`
	Store          Store       `toml:"store"`
	Log            Log         `toml:"log"`
	Audit          Audit       `toml:"audit"`
	Metrics        Metrics     `toml:"metrics"`
	Admins         []Admin     `toml:"admin"`
}

// DefaultListen is where a server listens that is told nothing else.
const DefaultListen = "127.0.0.1:8470"

// UnixSockets says who may use the Unix sockets in Listen.
type UnixSockets struct {
	Owner string `toml:"owner"` // a user's name or number; empty: ours
	Group string `toml:"group"` // a group's name or number; empty: ours
	Mode  string `toml:"mode"`  // octal
}

// TLS is about TCP listeners. Without a certificate they speak plain HTTP.
type TLS struct {
	CertFile     string `toml:"cert_file"`
	KeyFile      string `toml:"key_file"`
	ClientCAFile string `toml:"client_ca_file"`
	Loopback     bool   `toml:"loopback"`
}

// Token is about the tokens that are issued.
type Token struct {
	Prefix string `toml:"prefix"`
}

// Timeouts bound how long a client may take.
type Timeouts struct {
	Header   Duration `toml:"header"`
	Body     Duration `toml:"body"`
	Write    Duration `toml:"write"`
	Idle     Duration `toml:"idle"`
	Shutdown Duration `toml:"shutdown"`
}

// Limits bound what all clients together may take.
type Limits struct {
	MaxConnections int `toml:"max_connections"`
	MaxManagement  int `toml:"max_management"`
}

// Store is about the database.
type Store struct {
	MinFreeBytes     uint64 `toml:"min_free_bytes"`
	MaxIndexedTokens int    `toml:"max_indexed_tokens"`
}

// Log is about the log, which goes to stderr.
type Log struct {
	Level  string `toml:"level"`
	Format string `toml:"format"`
	Access bool   `toml:"access"`
}

// Audit is the record of management calls.
type Audit struct {
	Enabled  bool   `toml:"enabled"`
	File     string `toml:"file"` // empty: the log
	Required bool   `toml:"required"`
}

// Metrics are what Prometheus reads.
type Metrics struct {
	Listen     string `toml:"listen"` // empty: where everything is
	Token      bool   `toml:"token"`
	TokenNames bool   `toml:"token_names"`
}

// Admin is somebody who manages tokens, known by the hash of their token.
type Admin struct {
	Name        string `toml:"name"`
	TokenSHA256 string `toml:"token_sha256"`
	Write       bool   `toml:"write"`
}

// Default is the configuration without a file.
func Default() Config {
	return Config{
		DataDir:     "./tokend-data",
		UnixSockets: UnixSockets{Mode: "0660"},
		TLS:         TLS{Loopback: true},
		Token:       Token{Prefix: "tkd"},
		Timeouts: Timeouts{
			Header:   Duration{Duration: 5 * time.Second},
			Body:     Duration{Duration: 8 * time.Second},
			Write:    Duration{Duration: 8 * time.Second},
			Idle:     Duration{Duration: 2 * time.Minute},
			Shutdown: Duration{Duration: 30 * time.Second},
		},
		Limits: Limits{MaxConnections: 4096, MaxManagement: 64},
		Store:  Store{MinFreeBytes: 172 << 20, MaxIndexedTokens: 2_000_000},
		Log:    Log{Level: "info", Format: "text"},
		Audit:  Audit{Enabled: true},
	}
}

// Load reads a TOML file over the defaults. It refuses what it does not know,
// with line and column. What it gives is not validated yet, since flags may
// still change it.
func Load(path string) (Config, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return Config{}, fmt.Errorf("cannot read the configuration: %w", err)
	}
	if err := checkCase(path, content); err != nil {
		return Config{}, err
	}
	config := Default()
	decoder := toml.NewDecoder(bytes.NewReader(content)).DisallowUnknownFields()
	if err := decoder.Decode(&config); err != nil {
		return Config{}, located(path, err)
	}
	return config, nil
}

// located says where in the file an error is. The library's own text quotes the
// surrounding lines, which we leave out: they may hold what is nobody's
// business.
func located(path string, err error) error {
	if unknown, ok := errors.AsType[*toml.StrictMissingError](err); ok {
		var all []error
		for _, e := range unknown.Errors {
			line, column := e.Position()
			all = append(all, fmt.Errorf("%s:%d:%d: unknown key %q", path, line, column, dotted(e.Key())))
		}
		return errors.Join(all...)
	}
	if wrong, ok := errors.AsType[*toml.DecodeError](err); ok {
		line, column := wrong.Position()
		if key := dotted(wrong.Key()); key != "" && strings.Contains(wrong.Error(), "cannot decode") {
			return fmt.Errorf("%s:%d:%d: %s has the wrong type; config.example.toml shows the right one", path, line, column, key)
		}
		return fmt.Errorf("%s:%d:%d: %w", path, line, column, wrong)
	}
	return fmt.Errorf("%s: %w", path, err)
}

func dotted(key toml.Key) string { return strings.Join(key, ".") }

// checkCase refuses keys that are ours but for their case, which the library
// takes. tokend's are all in lower case.
func checkCase(path string, content []byte) error {
	var (
		parser         unstable.Parser
		errs           []error
		visit, descend func(*unstable.Node)
	)
	visit = func(node *unstable.Node) {
		for key := node.Key(); key.Next(); {
			if name := string(key.Node().Data); name != strings.ToLower(name) {
				at := parser.Shape(key.Node().Raw).Start
				errs = append(errs, fmt.Errorf("%s:%d:%d: unknown key %q", path, at.Line, at.Column, name))
			}
		}
		if node.Kind == unstable.KeyValue {
			descend(node.Value())
		}
	}
	descend = func(value *unstable.Node) {
		if value.Kind != unstable.InlineTable && value.Kind != unstable.Array {
			return
		}
		for children := value.Children(); children.Next(); {
			if child := children.Node(); child.Kind == unstable.KeyValue {
				visit(child)
			} else {
				descend(child)
			}
		}
	}
	parser.Reset(content)
	for parser.NextExpression() {
		if node := parser.Expression(); node.Kind != unstable.Comment {
			visit(node)
		}
	}
	return errors.Join(errs...) // what is no TOML is for the decoder to say
}

// Duration is a time.Duration that TOML writes as "1m30s".
type Duration struct {
	time.Duration
	Wrong string // what is no duration, for Validate to refuse by its key
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(string(text))
	*d = Duration{Duration: parsed}
	if err != nil {
		d.Wrong = string(text)
	}
	return nil
}
