package main

import (
	"crypto/sha256"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/dgraph-io/badger/v4"
	"github.com/valyala/fasthttp"
)

// serveBaseline is what tokend is held against: a fasthttp handler that stores
// what it gets in one synced Badger transaction and does nothing else. It
// writes as much as a token takes, a record and an index entry.
func serveBaseline(where string) {
	dir, address, _ := strings.Cut(where, "@")
	db, err := badger.Open(badger.DefaultOptions(dir).WithSyncWrites(true).WithLogger(nil))
	check(err)
	l, err := net.Listen("tcp", address)
	check(err)
	server := &fasthttp.Server{Handler: func(ctx *fasthttp.RequestCtx) {
		body := append([]byte(nil), ctx.PostBody()...)
		hash := sha256.Sum256(body)
		err := db.Update(func(txn *badger.Txn) error {
			if err := txn.Set(append([]byte("t/"), body...), make([]byte, 190)); err != nil {
				return err
			}
			return txn.Set(append([]byte("h/"), hash[:]...), body)
		})
		if err != nil {
			ctx.Error(err.Error(), fasthttp.StatusInternalServerError)
		}
	}}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	go func() { check(server.Serve(l)) }()
	<-stop
	check(server.Shutdown())
	check(db.Close())
}
