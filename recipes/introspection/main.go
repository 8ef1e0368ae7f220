// A resource server that knows its callers by introspection (RFC 7662), with a
// library that knows nothing of tokend: github.com/zitadel/oidc. It is a module
// of its own, so that tokend does not depend on it.
//
//	introspection -listen 127.0.0.1:8080 -tokend http://127.0.0.1:8470 -credential-file FILE
//
// The file holds any token that tokend issued: with it the resource server asks
// about the tokens of others.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/zitadel/oidc/v3/pkg/client/rs"
	"github.com/zitadel/oidc/v3/pkg/oidc"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:8080", "address to listen on")
	tokend := flag.String("tokend", "http://127.0.0.1:8470", "where tokend is")
	file := flag.String("credential-file", "", "file with a token of our own")
	flag.Parse()
	credential, err := os.ReadFile(*file)
	if err != nil {
		log.Fatal(err)
	}
	introspector, err := rs.NewResourceServerClientCredentials(context.Background(), *tokend, "resource-server", strings.TrimSpace(string(credential)),
		rs.WithStaticEndpoints(*tokend+"/unused", *tokend+"/_/token/introspect"))
	if err != nil {
		log.Fatal(err)
	}
	server := &http.Server{
		Addr:              *listen,
		ReadHeaderTimeout: 5 * time.Second,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
			if !ok {
				http.Error(w, "a bearer token is expected", http.StatusUnauthorized)
				return
			}
			answer, err := rs.Introspect[*oidc.IntrospectionResponse](r.Context(), introspector, token)
			switch {
			case err != nil:
				http.Error(w, "tokend cannot be asked", http.StatusServiceUnavailable)
			case !answer.Active:
				http.Error(w, "the token is not good", http.StatusUnauthorized)
			default:
				_, _ = fmt.Fprintf(w, "%s may %s\n", answer.Subject, answer.Scope)
			}
		}),
	}
	log.Fatal(server.ListenAndServe())
}
