package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
)

// etcd is a running etcd of one member.
type etcd struct {
	*process
	version string
}

// startEtcd starts etcd with its defaults, or gives nil where it is not
// installed.
func (b *bench) startEtcd() *etcd {
	if !installed("etcd") {
		return nil
	}
	out, err := exec.Command("etcd", "--version").Output()
	check(err)
	first, _, _ := strings.Cut(string(out), "\n")
	address, peer := freeAddress(), freeAddress()
	e := &etcd{
		process: start(address, "etcd", "--data-dir", filepath.Join(b.dir, "etcd"),
			"--listen-client-urls", "http://"+address, "--advertise-client-urls", "http://"+address,
			"--listen-peer-urls", "http://"+peer, "--initial-advertise-peer-urls", "http://"+peer,
			"--initial-cluster", "default=http://"+peer),
		version: strings.TrimPrefix(first, "etcd Version: "),
	}
	e.awaitTCP()
	return e
}

// putter puts keys and values of a token's size by gRPC, which is etcd's own
// protocol. A unary call is one HTTP/2 request, so net/http speaks it.
func (e *etcd) putter(name func(int, int64) string) func(int, int64) {
	var h2c http.Protocols
	h2c.SetUnencryptedHTTP2(true)
	transports := make([]*http.Transport, 8) // several connections, as of several programs
	for i := range transports {
		transports[i] = &http.Transport{Protocols: &h2c}
	}
	return func(number int, i int64) {
		message := putRequest(name(number, i), bytes.Repeat([]byte("x"), 190))
		r, err := http.NewRequest(http.MethodPost, "http://"+e.address+"/etcdserverpb.KV/Put", bytes.NewReader(message))
		check(err)
		r.Header.Set("Content-Type", "application/grpc")
		r.Header.Set("TE", "trailers")
		response, err := transports[number%len(transports)].RoundTrip(r)
		check(err)
		_, err = io.Copy(io.Discard, response.Body)
		check(err)
		check(response.Body.Close())
		if status := response.Trailer.Get("Grpc-Status"); status != "0" {
			check(fmt.Errorf("etcd answers %q %s", status, response.Trailer.Get("Grpc-Message")))
		}
	}
}

// putRequest is a PutRequest of etcd's protocol in a gRPC frame: key is field 1
// and value field 2.
func putRequest(key string, value []byte) []byte {
	message := []byte{1<<3 | 2}
	message = binary.AppendUvarint(message, uint64(len(key)))
	message = append(message, key...)
	message = append(message, 2<<3|2)
	message = binary.AppendUvarint(message, uint64(len(value)))
	message = append(message, value...)
	frame := binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message)))
	return append(frame, message...)
}
