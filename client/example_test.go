package client_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"strings"
	"time"

	"tokend/api/wire"
	"tokend/client"
)

// The examples' server is on a socket of its own; a real one says where it listens.
var exampleAddress, exampleToken string

func ExampleClient_Create() {
	c, err := client.New(exampleAddress, client.Options{Token: exampleToken})
	if err != nil {
		log.Fatal(err)
	}
	created, err := c.Create(context.Background(), client.NewToken{Name: "backup", Write: true, ExpiresAt: time.Date(2035, 1, 1, 0, 0, 0, 0, time.UTC)})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(created.Name, created.Status, created.Write, len(created.Value))
	// Output: backup active true 53
}

func ExampleClient_Verify() {
	c, err := client.New(exampleAddress, client.Options{}) // which takes no administrator
	if err != nil {
		log.Fatal(err)
	}
	_, err = c.Verify(context.Background(), "tkd_somebody-made-this-up", "write")
	switch client.CodeOf(err) {
	case "":
		fmt.Println(err) // nil, or the server does not answer
	case wire.CodeInvalidToken:
		fmt.Println("not a good token")
	case wire.CodeInsufficientScope:
		fmt.Println("a good token that may not write")
	}
	// Output: not a good token
}

func ExampleClient_Rotate() {
	ctx := context.Background()
	c, err := client.New(exampleAddress, client.Options{Token: exampleToken})
	if err != nil {
		log.Fatal(err)
	}
	old, err := c.Create(ctx, client.NewToken{Name: "exporter"})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := c.Rotate(ctx, "exporter", time.Hour); err != nil {
		log.Fatal(err)
	}
	verified, err := c.Verify(ctx, old.Value, "read")
	fmt.Println(verified.Name, verified.Rotated, err)
	// Output: exporter true <nil>
}

func ExampleClient_List() {
	ctx := context.Background()
	c, err := client.New(exampleAddress, client.Options{Token: exampleToken})
	if err != nil {
		log.Fatal(err)
	}
	for _, name := range []string{"ci-build", "ci-deploy"} {
		if _, err := c.Create(ctx, client.NewToken{Name: name}); err != nil {
			log.Fatal(err)
		}
	}
	for token, err := range c.List(ctx, client.Filter{Prefix: "ci-", Status: "active"}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(token.Name)
	}
	// Output:
	// ci-build
	// ci-deploy
}

func ExampleClient_Bulk() {
	ctx := context.Background()
	c, err := client.New(exampleAddress, client.Options{Token: exampleToken})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := c.Create(ctx, client.NewToken{Name: "old-job"}); err != nil {
		log.Fatal(err)
	}
	done, err := c.Bulk(ctx, wire.Bulk{Action: "deactivate", Filter: &wire.Filter{Prefix: new("old-")}})
	fmt.Println(done.Matched, done.Changed, done.Names, err)
	// Output: 1 1 [old-job] <nil>
}

func ExampleClient_Export() {
	c, err := client.New(exampleAddress, client.Options{Token: exampleToken})
	if err != nil {
		log.Fatal(err)
	}
	var lines strings.Builder
	n, err := c.Export(context.Background(), &lines, false)
	fmt.Println(n == strings.Count(lines.String(), "\n"), err)
	// Output: true <nil>
}

func ExampleClient_Backup() {
	c, err := client.New(exampleAddress, client.Options{Token: exampleToken})
	if err != nil {
		log.Fatal(err)
	}
	file, err := os.CreateTemp("", "backup")
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = os.Remove(file.Name()) }()
	_, err = c.Backup(context.Background(), file, nil) // which is checked while it is copied
	fmt.Println(err, file.Close())
	// Output: <nil> <nil>
}
