// Go's net/http as one would write it: HMAC, JSON into structs, a map of businesses, a limit. Nothing is stored.
// Usage: GOMAXPROCS=N webhook PORT SECRET PHONE,...
package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

const (
	limit  = 1000000000
	period = time.Minute
)

type business struct{ id, name string }

type delivery struct {
	Entry []struct {
		ID      string `json:"id"`
		Changes []struct {
			Field string `json:"field"`
			Value struct {
				Metadata struct {
					PhoneNumberID string `json:"phone_number_id"`
				} `json:"metadata"`
				Messages []struct {
					From, ID, Timestamp, Type string
					Text                      struct{ Body string }
				} `json:"messages"`
			} `json:"value"`
		} `json:"changes"`
	} `json:"entry"`
}

type window struct {
	count int
	until time.Time
}

type gateway struct {
	secret     []byte
	lock       sync.RWMutex
	businesses map[string]*business
	limits     sync.Mutex
	windows    map[string]*window
}

func (g *gateway) signed(header string, body []byte) bool {
	given, err := hex.DecodeString(strings.TrimPrefix(header, "sha256="))
	if err != nil {
		return false
	}
	mac := hmac.New(sha256.New, g.secret)
	mac.Write(body)
	return hmac.Equal(mac.Sum(nil), given)
}

func (g *gateway) lookUp(phone string) *business {
	g.lock.RLock()
	defer g.lock.RUnlock()
	return g.businesses[phone]
}

func (g *gateway) allowed(id string) bool {
	now := time.Now()
	g.limits.Lock()
	defer g.limits.Unlock()
	w := g.windows[id]
	if w == nil || now.After(w.until) {
		w = &window{until: now.Add(period)}
		g.windows[id] = w
	}
	w.count++
	return w.count <= limit
}

func (g *gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil || r.Method != http.MethodPost {
		http.Error(w, `{"detail":"no body"}`, http.StatusBadRequest)
		return
	}
	if !g.signed(r.Header.Get("X-Hub-Signature-256"), body) {
		http.Error(w, `{"detail":"Invalid signature"}`, http.StatusForbidden)
		return
	}
	var d delivery
	if json.Unmarshal(body, &d) != nil {
		http.Error(w, `{"detail":"no JSON"}`, http.StatusBadRequest)
		return
	}
	for _, entry := range d.Entry {
		for _, change := range entry.Changes {
			b := g.lookUp(change.Value.Metadata.PhoneNumberID)
			if b != nil && !g.allowed(b.id) {
				http.Error(w, `{"detail":"Too many"}`, http.StatusTooManyRequests)
				return
			}
		}
	}
	w.Header().Set("Content-Type", "application/json")
	io.WriteString(w, `{"status":"ok"}`)
}

func main() {
	port, secret, phones := os.Args[1], os.Args[2], os.Args[3]
	g := &gateway{secret: []byte(secret), businesses: map[string]*business{}, windows: map[string]*window{}}
	for _, phone := range strings.Split(phones, ",") {
		g.businesses[phone] = &business{"b" + phone, "Business " + phone}
	}
	mux := http.NewServeMux()
	mux.Handle("/whatsapp_response", g)
	if err := http.ListenAndServe("127.0.0.1:"+port, mux); err != nil {
		os.Stderr.WriteString(err.Error() + "\n")
		os.Exit(1)
	}
}
