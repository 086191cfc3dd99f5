package guide

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// Client is the client that the examples test. It shows each event of a subscription once
// and in order, comes back when its socket ends, and asks for events that it missed.
type Client struct {
	t       *testing.T
	address string     // of the subscription
	shown   chan int64 // numbers of events
	last    int64      // that was shown; only the goroutine of run uses it
}

// Connect starts a client. It ends with the test.
func Connect(t *testing.T, base, subscription string) *Client {
	t.Helper()
	c := &Client{t: t, address: base + "/Subscription/" + subscription, shown: make(chan int64, 100)}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			_ = c.run(ctx) // whatever ended it, it tries again
			select {
			case <-ctx.Done():
			case <-time.After(10 * time.Millisecond):
			}
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	return c
}

// WantEvents waits until the client has shown these events, and no others between them.
func (c *Client) WantEvents(numbers ...int64) {
	c.t.Helper()
	for _, want := range numbers {
		select {
		case got := <-c.shown:
			if got != want {
				c.t.Fatalf("the client showed event %d, want %d", got, want)
			}
		case <-time.After(time.Minute): // only a failure takes that long
			c.t.Fatalf("the client did not show event %d", want)
		}
	}
}

// run connects, binds and reads until the socket ends.
func (c *Client) run(ctx context.Context) error {
	var out struct {
		Parameter []struct{ Name, ValueString, ValueURL string }
	}
	if err := c.call(ctx, http.MethodPost, "/$get-ws-binding-token", &out); err != nil {
		return err
	}
	values := map[string]string{}
	for _, p := range out.Parameter {
		values[p.Name] = p.ValueString + p.ValueURL
	}
	socket, _, err := websocket.Dial(ctx, values["websocket-url"], nil)
	if err != nil {
		return err
	}
	defer socket.CloseNow()
	if err := socket.Write(ctx, websocket.MessageText, []byte("bind-with-token "+values["token"])); err != nil {
		return err
	}
	for {
		_, frame, err := socket.Read(ctx)
		if err != nil {
			return err
		}
		var n notification
		if err := json.Unmarshal(frame, &n); err != nil {
			return err
		}
		total, numbers := n.read()
		if len(numbers) > 0 {
			total = numbers[0] - 1
		}
		if total > c.last { // the last event that should have come before this frame
			var missed notification
			if err := c.call(ctx, http.MethodGet, fmt.Sprintf("/$events?eventsSinceNumber=%d&eventsUntilNumber=%d", c.last+1, total), &missed); err != nil {
				return err
			}
			_, recovered := missed.read()
			c.show(recovered)
		}
		c.show(numbers)
	}
}

// show shows events that it has not shown.
func (c *Client) show(numbers []int64) {
	for _, number := range numbers {
		if number > c.last {
			c.last = number
			c.shown <- number
		}
	}
}

// call sends a request without a body about the subscription.
func (c *Client) call(ctx context.Context, method, path string, out any) error {
	req, err := http.NewRequestWithContext(ctx, method, c.address+path, http.NoBody)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: %s %s %w", method, path, res.Status, body, err)
	}
	return json.Unmarshal(body, out)
}

// notification is the part of a bundle that the client reads.
type notification struct {
	Entry []struct {
		Resource struct {
			EventsSinceSubscriptionStart string
			NotificationEvent            []struct{ EventNumber string }
		}
	}
}

// read returns how many events there were when it was sent, and the numbers of its own.
func (n notification) read() (total int64, numbers []int64) {
	if len(n.Entry) == 0 {
		return 0, nil
	}
	status := n.Entry[0].Resource
	total, _ = strconv.ParseInt(status.EventsSinceSubscriptionStart, 10, 64)
	for _, event := range status.NotificationEvent {
		number, _ := strconv.ParseInt(event.EventNumber, 10, 64)
		numbers = append(numbers, number)
	}
	return total, numbers
}
