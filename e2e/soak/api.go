package soak

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"
)

// requestPatience is how long a response may take. Only a failure takes that long.
const requestPatience = 2 * time.Minute

// api sends requests to a server, or to a room of one.
type api struct {
	client *http.Client
	root   string // without a slash at the end
}

func newAPI(root string) *api {
	return &api{root: root, client: &http.Client{
		Timeout:   requestPatience,
		Transport: &http.Transport{MaxIdleConnsPerHost: 64}, // without a proxy
	}}
}

// at returns the same client for a path below the root.
func (a *api) at(path string) *api { return &api{a.client, a.root + path} }

// ask sends a request. body may be nil, or a value to encode.
func (a *api) ask(method, path string, body any) (status int, data []byte, err error) {
	var reader io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return 0, nil, err
		}
		reader = bytes.NewReader(data)
	}
	req, err := http.NewRequest(method, a.root+path, reader)
	if err != nil {
		return 0, nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := a.client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer res.Body.Close()
	data, err = io.ReadAll(res.Body)
	return res.StatusCode, data, err
}

// must sends a request that has to succeed, and reads the response into out, which may be
// nil.
func (a *api) must(method, path string, body, out any) error {
	status, data, err := a.ask(method, path, body)
	switch {
	case err != nil:
		return err
	case status >= 300:
		return fmt.Errorf("%s %s: %d %s", method, path, status, data)
	case out == nil:
		return nil
	}
	return json.Unmarshal(data, out)
}
