package sshclient

import (
	"time"

	"golang.org/x/crypto/ssh"
)

// KeepAlive ends a connection that no longer answers. It returns when over is
// closed, which the caller does when client.Wait has returned.
func KeepAlive(over <-chan struct{}, client *ssh.Client, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-over:
			return
		case <-tick.C:
		}
		late := time.AfterFunc(every, func() { client.Close() })
		_, _, err := client.SendRequest("keepalive@openssh.com", true, nil)
		late.Stop()
		if err != nil {
			client.Close()
			<-over
			return
		}
	}
}
