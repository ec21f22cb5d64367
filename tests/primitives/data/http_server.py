"""A server that describes the requests that it gets."""

import http.server
import json
import ssl
import subprocess
import sys
import threading

COUNTS = {}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length).decode()
        COUNTS[self.path] = COUNTS.get(self.path, 0) + 1
        status, headers, kind = 200, {}, "application/json"
        if self.path.startswith("/status/"):
            status = int(self.path.split("/")[2])
            headers["Retry-After"] = "7"
        if self.path.startswith("/redirect"):
            status = int(self.path.removeprefix("/redirect"))
            headers["Location"] = "/echo"
        text = json.dumps({
            "method": self.command, "path": self.path, "body": body,
            "count": COUNTS[self.path],
            "headers": {name.lower(): value for name, value in self.headers.items()},
        })
        if self.path == "/text":
            text, kind = "plain", "text/plain"
        if self.path == "/broken":
            text = "{"
        if self.path == "/big":
            text = "x" * (2 << 20)
        self.send_response(status)
        self.send_header("Content-Type", kind + "; charset=utf-8")
        self.send_header("Content-Length", str(len(text)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text.encode())

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_PURGE = answer

    def log_message(self, *_):
        pass


def serve(port, name=None, authority="TRUE"):
    server = http.server.ThreadingHTTPServer(("", port), Handler)
    if name:
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
             "-nodes", "-days", "1", "-subj", "/CN=test", "-addext",
             "subjectAltName=" + name, "-addext", "basicConstraints=critical,CA:" + authority,
             "-keyout", f"{port}.key", "-out", f"{port}.pem"],
            check=True, capture_output=True)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(f"{port}.pem", f"{port}.key")
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever).start()


if __name__ == "__main__":
    port = int(sys.argv[1])
    serve(port + 1, name="IP:192.0.2.10", authority="FALSE")
    serve(port + 2, name="IP:192.0.2.10")
    serve(port)
