package listen

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gorilla/websocket"
)

// The backoff between attempts: it doubles from the first pause to the last, give or
// take a fifth.
const (
	firstPause = 200 * time.Millisecond
	lastPause  = 5 * time.Second
)

// listener is one run of the client.
type listener struct {
	options Options
	server  *server
	print   *printer
	id      string    // the subscription
	created bool      // the client created it, so it may create it again, and deletes it
	track   tracker   // survives reconnects
	seen    int       // events shown
	at      time.Time // of the last notification, by the clock of the server
	newest  event     // the last that was shown and has a number
	before  span      // of the events before the first bind, those that the server may replay and has not

	unsure    bool // nothing has said yet what was missed before the bind
	uncounted bool // an event had no number, so track does not know what was shown

	heartbeat time.Duration // of the subscription; 0: none
	asked     bool          // the server was asked for heartbeat
}

// errDone ends a run that has shown the requested number of events.
var errDone = errors.New("done")

// Run listens until ctx ends, the requested number of events was shown, or an error
// occurs that a retry cannot fix. Notifications go to out, and what the client does
// about them to notes.
func Run(ctx context.Context, o Options, out, notes io.Writer) error {
	base, err := o.base()
	if err != nil {
		return err
	}
	if o.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.Timeout)
		defer cancel()
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = o.TLS
	l := &listener{
		options: o,
		server:  &server{base: base, client: &http.Client{Timeout: 10 * time.Second, Transport: transport}, token: o.AuthToken},
		print:   &printer{out: out, notes: notes, raw: o.JSON},
		id:      o.Subscription,
	}
	if o.Subscription == "" && o.Topic == "" {
		return l.explain(ctx)
	}
	err = l.run(ctx)
	l.cleanUp()
	switch {
	case errors.Is(err, errDone), errors.Is(err, context.Canceled):
		return nil
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("saw %d events in %s", l.seen, o.Timeout)
	}
	return err
}

// explain lists the topics and subscriptions for a user who named neither.
func (l *listener) explain(ctx context.Context) error {
	topics, subscriptions, err := l.server.offer(ctx)
	if err != nil {
		return err
	}
	return fmt.Errorf("choose what to listen to:\n  --topic URL        one of %s\n  --subscription ID  one of %s",
		strings.Join(topics, ", "), strings.Join(subscriptions, ", "))
}

// cleanUp deletes the subscription the client created. The run may have ended with
// its context, so cleanUp uses a short one of its own.
func (l *listener) cleanUp() {
	if !l.created {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := l.server.delete(ctx, l.id); err != nil && !gone(err) {
		l.print.note("could not delete Subscription/%s: %v", l.id, err)
	}
}

// run connects until something ends it, with a backoff between sessions.
func (l *listener) run(ctx context.Context) error {
	pause := firstPause
	for {
		before := time.Now()
		err := l.session(ctx)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, errDone):
			return err
		case gone(err) && l.options.Topic == "":
			return fmt.Errorf("the subscription is gone: %w", err)
		case gone(err):
			// The server forgot the subscription, as an in-memory server does when it
			// restarts. The client created it, so create it again.
			l.print.note("Subscription/%s is gone; creating it again", l.id)
			l.id = ""
		case refused(err):
			return err
		case wait(err) > 0:
			l.print.note("%v; trying again in %s, as the server wants", err, wait(err))
		default:
			l.print.note("%v; trying again", err)
		}
		if time.Since(before) > lastPause {
			pause = firstPause // the session worked for a while
		}
		if err := sleep(ctx, max(time.Duration(float64(pause)*(0.8+0.4*rand.Float64())), wait(err))); err != nil {
			return err
		}
		pause = min(2*pause, lastPause)
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// session runs the flow once: subscribe, get a token, open a socket, bind, and read
// until something ends it.
func (l *listener) session(ctx context.Context) error {
	if l.id == "" {
		if err := l.subscribe(ctx); err != nil {
			return err
		}
	}
	if err := l.askHeartbeat(ctx); err != nil {
		return err
	}
	bound, err := l.server.bindingToken(ctx, l.id)
	if err != nil {
		return err
	}
	dialer := *websocket.DefaultDialer
	dialer.TLSClientConfig = l.options.TLS
	header, note := l.server.upgrade(bound.url)
	if note != "" {
		l.print.note("%s", note)
	}
	socket, _, err := dialer.DialContext(ctx, bound.url, header)
	if err != nil {
		return unreachable("cannot open "+bound.url, err)
	}
	defer socket.Close()
	if err := bind(socket, bound.token); err != nil {
		return err
	}
	l.unsure = true

	// One goroutine reads; it ends when the socket closes, which the deferred Close
	// guarantees.
	frames, ended := make(chan []byte), make(chan error, 1)
	leave := make(chan struct{})
	defer close(leave)
	go func() {
		for {
			_, data, err := socket.ReadMessage()
			if err != nil {
				ended <- err
				return
			}
			select {
			case frames <- data:
			case <-leave:
				return
			}
		}
	}()

	held := lease{expires: bound.expiration}
	renew := time.NewTimer(renewal(bound.expiration, time.Now()))
	defer renew.Stop()
	silence := time.NewTimer(l.patience())
	defer silence.Stop()
	for {
		select {
		case data := <-frames:
			silence.Reset(l.patience())
			if err := l.frame(ctx, data); err != nil {
				farewell(socket)
				return err
			}
			if wait, known := held.wait(l.at); known {
				renew.Reset(wait)
			}
		case err := <-ended:
			return fmt.Errorf("the socket closed: %w", err)
		case <-renew.C:
			// Get a new token before the old one expires and bind it on the same socket:
			// the server replies with a handshake and no event is lost.
			if bound, err = l.server.bindingToken(ctx, l.id); err != nil {
				return err
			}
			if err := bind(socket, bound.token); err != nil {
				return err
			}
			held = lease{expires: bound.expiration}
			renew.Reset(renewal(bound.expiration, time.Now()))
		case <-silence.C:
			return fmt.Errorf("no heartbeat for %s, so the connection is dead", l.patience())
		case <-ctx.Done():
			farewell(socket)
			return ctx.Err()
		}
	}
}

func (l *listener) subscribe(ctx context.Context) error {
	resource, err := l.options.resource()
	if err != nil {
		return &statusError{status: http.StatusBadRequest, text: err.Error()}
	}
	id, err := l.server.subscribe(ctx, resource)
	if err != nil {
		return err
	}
	l.id, l.created = id, true
	// A new subscription counts from 1, whatever its predecessor had counted, so
	// events before the handshake are missed and can be recovered.
	l.track, l.newest, l.before, l.uncounted = tracker{known: true}, event{}, span{}, false
	l.print.note("created Subscription/%s on %s", id, l.options.Topic)
	return nil
}

// askHeartbeat finds out once how often the server says that the connection is alive.
func (l *listener) askHeartbeat(ctx context.Context) (err error) {
	if l.asked {
		return nil
	}
	if l.created { // as it was asked for
		l.heartbeat = time.Duration(l.options.Heartbeat) * time.Second
	} else if l.heartbeat, err = l.server.heartbeat(ctx, l.id); err != nil && (gone(err) || !refused(err)) {
		return err // others may read no subscriptions, and bind all the same
	}
	l.asked = true
	return nil
}

func bind(socket *websocket.Conn, token string) error {
	if err := socket.WriteMessage(websocket.TextMessage, []byte("bind-with-token "+token)); err != nil {
		return fmt.Errorf("cannot bind: %w", err)
	}
	return nil
}

// farewell closes a socket with a proper close frame.
func farewell(socket *websocket.Conn) {
	_ = socket.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure, ""), time.Now().Add(time.Second))
}

// renewal returns how long to wait before a token is renewed: four fifths of its
// remaining lifetime. A token without an expiration is not renewed.
func renewal(expiration, now time.Time) time.Duration {
	if expiration.IsZero() {
		return 1<<63 - 1
	}
	return max(expiration.Sub(now)/5*4, 100*time.Millisecond)
}

// lease is the life of a token by the clock of the server. That clock may show another time
// than the one of this machine, and a test may have set it.
type lease struct {
	expires time.Time
	renew   time.Time // zero until a notification says what time it is
}

// wait returns how long it is from the time of a notification until the token has to be
// renewed. known is false if the notification has no time, or the token no expiration.
func (l *lease) wait(at time.Time) (d time.Duration, known bool) {
	if at.IsZero() || l.expires.IsZero() {
		return 0, false
	}
	if l.renew.IsZero() {
		l.renew = at.Add(renewal(l.expires, at))
	}
	return max(l.renew.Sub(at), 0), true
}

// patience returns how long the socket may be silent: two and a half heartbeats of a
// subscription whose period is known.
func (l *listener) patience() time.Duration {
	if l.heartbeat <= 0 {
		return 1<<63 - 1
	}
	return l.heartbeat * 5 / 2
}

// frame handles one message from the server.
func (l *listener) frame(ctx context.Context, data []byte) error {
	if l.options.JSON {
		l.print.frame(data)
	}
	n, ok := parseNotification(data)
	if !ok {
		if err := l.other(data); err != nil {
			return err
		}
		return l.catchUp(ctx)
	}
	l.at, _ = time.Parse(time.RFC3339, n.time)
	if n.kind == "handshake" && n.untold {
		l.print.line(l.id, n, nil, "")
		return l.catchUp(ctx)
	}
	if n.kind == "handshake" {
		if !l.track.known {
			l.before = span{1, n.total}
		}
		missed, restarted := l.track.handshake(n.total)
		l.print.line(l.id, n, nil, "")
		if !restarted && l.unsure {
			var err error
			if restarted, err = l.renumbered(ctx); err != nil {
				return err
			}
			if restarted {
				l.track.last = 0
				missed = span{1, n.total}
			}
		}
		l.unsure = false
		if restarted {
			l.newest, l.before = event{}, span{}
			l.print.note("the numbering started again: the server was restarted")
		}
		return l.recover(ctx, missed)
	}
	if len(n.events) == 0 {
		l.print.line(l.id, n, nil, "")
		if n.status == "off" {
			return &statusError{status: http.StatusUnprocessableEntity, text: "the subscription was turned off"}
		}
		return l.catchUp(ctx)
	}
	for _, e := range n.events {
		if e.number == 0 { // the server does not count
			l.uncounted = true
			if err := l.show(n, e, ""); err != nil {
				return err
			}
			continue
		}
		l.unsure = false // a gap before it shows what was missed
		missed, isNew := l.track.event(e.number)
		if !isNew && l.before.from <= e.number && e.number <= l.before.to {
			l.before.from = e.number + 1
			if err := l.show(n, e, "from before"); err != nil {
				return err
			}
			continue
		}
		if !isNew {
			l.print.note("event #%d came again", e.number)
			continue
		}
		if err := l.recover(ctx, missed); err != nil {
			return err
		}
		if err := l.show(n, e, ""); err != nil {
			return err
		}
	}
	return nil
}

// other handles a message that is not a notification: an OperationOutcome, or noise.
func (l *listener) other(data []byte) error {
	if text := outcomeText(data); text != "" {
		// Whatever the reason, retry with a new token on a new socket.
		return fmt.Errorf("refused by the server%s", text)
	}
	l.print.note("a frame that is not a notification: %.100s", data)
	return nil
}

// catchUp finds out what was missed before the bind, from a server that sends no handshake, or
// one without a total. It is called with the first frame, so the bind is done: what happens
// after it comes on the socket.
func (l *listener) catchUp(ctx context.Context) error {
	if !l.unsure {
		return nil
	}
	l.unsure = false
	switch {
	case l.uncounted:
		l.print.note("the server does not number events, so what happened while there was no connection cannot be fetched")
		return nil
	case !l.track.known: // there is nothing to go on from
		return nil
	}
	total, err := l.server.total(ctx, l.id)
	switch {
	case refused(err):
		l.print.note("whether events were missed is not known: %v", err)
		return nil
	case err != nil:
		return err
	}
	missed, restarted := l.track.handshake(total)
	if restarted {
		l.newest, l.before = event{}, span{}
		l.print.note("the numbering started again: the server was restarted")
	}
	return l.recover(ctx, missed)
}

// show prints one event.
func (l *listener) show(n notification, e event, how string) error {
	l.print.line(l.id, n, []event{e}, how)
	l.track.shown(e.number)
	if e.number > 0 && e.number == l.track.last {
		l.newest = e
	}
	l.seen++
	if l.options.Count > 0 && l.seen >= l.options.Count {
		return errDone
	}
	return nil
}

// renumbered reports whether the number of the last event that was shown is now that of another
// one: the server was restarted, and has counted as far again.
func (l *listener) renumbered(ctx context.Context) (bool, error) {
	if l.newest.number == 0 || l.newest.time == "" {
		return false, nil
	}
	data, err := l.server.events(ctx, l.id, span{l.newest.number, l.newest.number})
	if err != nil {
		if refused(err) && !gone(err) {
			return false, nil // it has no $events
		}
		return false, err
	}
	n, _ := parseNotification(data)
	return slices.ContainsFunc(n.events, func(e event) bool {
		return e.number == l.newest.number && e.time != "" && (e.time != l.newest.time || e.focus != l.newest.focus)
	}), nil
}

// recover fetches missed events and shows them in order. It reports those that the
// server no longer has as lost.
func (l *listener) recover(ctx context.Context, missed span) error {
	if missed.empty() {
		return nil
	}
	l.print.note("missed %s; calling $events", numbers(missed))
	data, err := l.server.events(ctx, l.id, missed)
	if err != nil {
		return err
	}
	if l.options.JSON {
		l.print.frame(data)
	}
	n, _ := parseNotification(data)
	slices.SortFunc(n.events, func(a, b event) int { return cmp.Compare(a.number, b.number) })
	next := missed.from
	for _, e := range n.events {
		if e.number < next || e.number > missed.to {
			continue // duplicate, or not requested
		}
		if e.number > next {
			l.print.note("lost %s: the server no longer has them", numbers(span{next, e.number - 1}))
		}
		if err := l.show(n, e, "recovered"); err != nil {
			return err
		}
		next = e.number + 1
	}
	if next <= missed.to {
		l.print.note("lost %s: the server no longer has them", numbers(span{next, missed.to}))
		l.track.shown(missed.to)
	}
	return nil
}

func numbers(s span) string {
	if s.from == s.to {
		return fmt.Sprintf("#%d", s.from)
	}
	return fmt.Sprintf("#%d to #%d", s.from, s.to)
}
