package config

import "reflect"

// fixed are the keys that a server keeps from its start on. All others, and what
// is in the files that keys name is read again at a reload.
var fixed = []struct {
	key   string
	value func(Config) any
}{
	{"listen", func(c Config) any { return c.Listen }},
	{"admin_socket", func(c Config) any { return c.AdminSocket }},
	{"data_dir", func(c Config) any { return c.DataDir }},
	{"admin_token_file", func(c Config) any { return c.AdminTokenFile }},
	{"master_key_file", func(c Config) any { return c.MasterKeyFile }},
	{"unix_sockets", func(c Config) any { return c.UnixSockets }},
	{"tls.cert_file (from or to none)", func(c Config) any { return c.TLS.Enabled() }},
	{"tls.loopback", func(c Config) any { return c.TLS.Loopback }},
	{"token", func(c Config) any { return c.Token }},
	{"store", func(c Config) any { return c.Store }},
	{"metrics.listen", func(c Config) any { return c.Metrics.Listen }},
	{"log.format", func(c Config) any { return c.Log.Format }},
}

// NeedRestart are the keys in which another configuration differs and which a
// running server cannot take up.
func (c Config) NeedRestart(next Config) (keys []string) {
	for _, f := range fixed {
		if !reflect.DeepEqual(f.value(c), f.value(next)) {
			keys = append(keys, f.key)
		}
	}
	return keys
}
