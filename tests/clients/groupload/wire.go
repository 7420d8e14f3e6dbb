package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

const responseBytesMax = 64 << 20

// connection carries one request at a time.
type connection struct {
	socket      net.Conn
	format      *kmsg.RequestFormatter
	correlation int32
	buffer      []byte
}

func connect(address, clientID string, timeout time.Duration) (*connection, error) {
	socket, err := net.DialTimeout("tcp", address, timeout)
	if err != nil {
		return nil, err
	}
	return &connection{socket: socket, format: kmsg.NewRequestFormatter(kmsg.FormatterClientID(clientID))}, nil
}

func (c *connection) close() {
	if c != nil {
		c.socket.Close()
	}
}

// ask sends a request whose version is set and reads its response. After an error the connection is of no more use.
func (c *connection) ask(request kmsg.Request, timeout time.Duration) (kmsg.Response, error) {
	c.correlation++
	if err := c.socket.SetDeadline(time.Now().Add(timeout)); err != nil {
		return nil, err
	}
	c.buffer = c.format.AppendRequest(c.buffer[:0], request, c.correlation)
	if _, err := c.socket.Write(c.buffer); err != nil {
		return nil, err
	}
	var head [8]byte
	if _, err := io.ReadFull(c.socket, head[:]); err != nil {
		return nil, err
	}
	size := int(binary.BigEndian.Uint32(head[:4])) - 4
	if size < 0 || size > responseBytesMax {
		return nil, fmt.Errorf("a response of %d bytes", size)
	}
	if got := int32(binary.BigEndian.Uint32(head[4:])); got != c.correlation {
		return nil, fmt.Errorf("correlation id %d, expected %d", got, c.correlation)
	}
	if cap(c.buffer) < size {
		c.buffer = make([]byte, size)
	}
	body := c.buffer[:size]
	if _, err := io.ReadFull(c.socket, body); err != nil {
		return nil, err
	}
	response := request.ResponseKind()
	response.SetVersion(request.GetVersion())
	if response.IsFlexible() && response.Key() != 18 {
		if len(body) == 0 || body[0] != 0 {
			return nil, fmt.Errorf("tagged fields in the header of a response to API %d", response.Key())
		}
		body = body[1:]
	}
	return response, response.ReadFrom(body)
}
