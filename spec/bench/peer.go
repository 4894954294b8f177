// peer.go switch|rendezvous|spawn, park|timers N, echo PORT, tls CERT KEY PORT or http PORT:
// the same work in Go, on one processor.
package main

import (
	"crypto/tls"
	"fmt"
	"math/rand"
	"net"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

const rounds = 1000000

func cpuNs() float64 {
	var use syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &use)
	return float64(use.Utime.Nano() + use.Stime.Nano())
}

func switches() {
	const tasks = 1000
	var done sync.WaitGroup
	done.Add(tasks)
	for i := 0; i < tasks; i++ {
		go func() {
			defer done.Done()
			for j := 0; j < rounds/tasks; j++ {
				runtime.Gosched()
			}
		}()
	}
	done.Wait()
}

func rendezvous() {
	ping, pong := make(chan int), make(chan int)
	go func() {
		for v := range ping {
			pong <- v
		}
	}()
	for i := 0; i < rounds; i++ {
		ping <- i
		<-pong
	}
}

func spawn() {
	var done sync.WaitGroup
	for i := 0; i < rounds/1000; i++ {
		done.Add(1000)
		for j := 0; j < 1000; j++ {
			go done.Done()
		}
		done.Wait()
	}
}

// resident is the memory that the process takes, in bytes.
func resident() float64 {
	status, _ := os.ReadFile("/proc/self/status")
	var kib float64
	for _, line := range strings.Split(string(status), "\n") {
		fmt.Sscanf(line, "VmRSS: %f", &kib)
	}
	return kib * 1024
}

func park(count int) float64 {
	runtime.GC()
	before := resident()
	for i := 0; i < count; i++ {
		go time.Sleep(time.Hour)
	}
	time.Sleep(200 * time.Millisecond)
	runtime.GC()
	return (resident() - before) / float64(count)
}

func timers(count int) {
	var done sync.WaitGroup
	done.Add(count)
	for i := 0; i < count; i++ {
		nap := time.Duration(rand.Float64() * float64(time.Second))
		go func() {
			time.Sleep(nap)
			done.Done()
		}()
	}
	done.Wait()
}

func echo(client net.Conn) {
	defer client.Close()
	bytes := make([]byte, 4096)
	for {
		n, err := client.Read(bytes)
		if err != nil {
			return
		}
		if _, err = client.Write(bytes[:n]); err != nil {
			return
		}
	}
}

func must[T any](value T, err error) T {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return value
}

func listen(port string) net.Listener {
	return must(net.Listen("tcp", "127.0.0.1:"+port))
}

func encrypted(listener net.Listener, cert, key string) net.Listener {
	pair := must(tls.LoadX509KeyPair(cert, key))
	return tls.NewListener(listener, &tls.Config{Certificates: []tls.Certificate{pair}})
}

func serve(listener net.Listener) {
	for {
		if client, err := listener.Accept(); err == nil {
			go echo(client)
		}
	}
}

func greet(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain")
	w.Write([]byte("Hello, world!"))
}

func main() {
	runtime.GOMAXPROCS(1)
	if len(os.Args) > 2 && os.Args[1] == "http" {
		err := http.ListenAndServe("127.0.0.1:"+os.Args[2], http.HandlerFunc(greet))
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if len(os.Args) > 2 && os.Args[1] == "echo" {
		serve(listen(os.Args[2]))
	}
	if len(os.Args) > 4 && os.Args[1] == "tls" {
		serve(encrypted(listen(os.Args[4]), os.Args[2], os.Args[3]))
	}
	if len(os.Args) > 2 {
		count, _ := strconv.Atoi(os.Args[2])
		if os.Args[1] == "park" {
			fmt.Printf("park %.0f bytes\n", park(count))
			return
		}
		start := cpuNs()
		timers(count)
		fmt.Printf("timers %.0f ns\n", (cpuNs()-start)/float64(count))
		return
	}
	work := map[string]func(){"switch": switches, "rendezvous": rendezvous, "spawn": spawn}[os.Args[1]]
	start := cpuNs()
	work()
	fmt.Printf("%s %.1f ns\n", os.Args[1], (cpuNs()-start)/rounds)
}
