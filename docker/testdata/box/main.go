// Command box is the only program in the image that the tests of package docker
// run: it does what they want to see from outside.
package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	verb, arg := os.Args[1], ""
	if len(os.Args) > 2 {
		arg = os.Args[2]
	}
	if err := run(verb, arg); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(verb, arg string) error {
	number, _ := strconv.Atoi(arg)
	switch verb {
	case "print":
		fmt.Println(arg)
	case "print-to-both":
		fmt.Println("to stdout")
		fmt.Fprintln(os.Stderr, "to stderr")
	case "count": // a line for each number, then stay
		for i := range number {
			fmt.Println("line", i)
		}
		awaitTerm("")
	case "stay":
		awaitTerm("ready\n")
	case "linger": // takes its time to stop
		awaitTerm("ready\n")
		time.Sleep(time.Duration(number) * time.Second)
	case "exit":
		fmt.Fprintln(os.Stderr, "exiting with", number)
		os.Exit(number)
	case "cat":
		_, err := io.Copy(os.Stdout, os.Stdin)
		return err
	case "spew":
		_, err := io.WriteString(os.Stdout, strings.Repeat("x", number))
		return err
	case "detach": // ends its output before it ends
		os.Stdout.Close()
		os.Stderr.Close()
		time.Sleep(200 * time.Millisecond)
		os.Exit(number)
	case "serve":
		return serve(arg)
	case "health":
		return health(arg)
	case "show":
		data, err := os.ReadFile(arg)
		os.Stdout.Write(data)
		return err
	case "write":
		return os.WriteFile(arg, []byte("written\n"), 0o644)
	default:
		return fmt.Errorf("unknown verb %q", verb)
	}
	return nil
}

// awaitTerm announces when it listens for the signal: PID 1 never sees one that
// came before.
func awaitTerm(announcement string) {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	fmt.Print(announcement)
	<-stop
}

func serve(port string) error {
	listener, err := net.Listen("tcp", ":"+port)
	if err != nil {
		return err
	}
	for {
		conn, err := listener.Accept()
		if err != nil {
			return err
		}
		fmt.Fprintln(conn, "hello")
		conn.Close()
	}
}

// health is fine once the file is there.
func health(file string) error {
	if _, err := os.Stat(file); err != nil {
		return fmt.Errorf("waiting for %s", file)
	}
	fmt.Println("fine")
	return nil
}
