package main

import (
	"os/exec"
	"regexp"
	"strconv"
)

// compareRedis holds verification over HTTP against Redis's GET, each by as many
// clients, one request at a time.
func (b *bench) compareRedis(turns int, t *tokend, next requester) {
	if !installed("redis-server") || !installed("redis-benchmark") {
		b.figure("Redis is not installed, so it is left out", "", true, "")
		return
	}
	redis := startRedis()
	defer redis.stop()
	own := aim(t.process, next)
	defer own.close()
	var owns, gets, ratios []float64
	for range max(3, turns/5) {
		rate, get := own.hammer(5*slice).rate, redis.getRate()
		owns, gets, ratios = append(owns, rate), append(gets, get), append(ratios, rate/get)
	}
	b.figure("Redis GET by redis-benchmark, as many clients", perSecond(median(gets)), true, "")
	b.figure("  verification over HTTP", perSecond(median(owns)), true, "")
	b.figure("  to that", times(median(ratios)), median(ratios) >= 1, "at least 1 time")
}

type redis struct{ *process }

func startRedis() redis {
	address := freeAddress()
	r := redis{start(address, "redis-server", "--port", portOf(address), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no")}
	r.awaitTCP()
	return r
}

var rateInCSV = regexp.MustCompile(`"GET","([0-9.]+)"`)

// getRate runs redis-benchmark for about a second.
func (r redis) getRate() float64 {
	out, err := exec.Command("redis-benchmark", "-h", "127.0.0.1", "-p", portOf(r.address),
		"-t", "get", "-c", strconv.Itoa(clients), "-n", "100000", "-P", "1", "-d", "64", "-r", "1", "--csv").Output()
	check(err)
	found := rateInCSV.FindSubmatch(out)
	rate, err := strconv.ParseFloat(string(found[1]), 64)
	check(err)
	return rate
}
