#!/usr/bin/env python3
"""The services that give credentials, with a log: server.py LOG [PROXY_DIRECTORY]

Answers as STS, IAM Identity Center and AWS Sign-In do, and as EC2 in a region without
instances. Prints its port. Writes one JSON object for each request to LOG. With
PROXY_DIRECTORY, prints the port of an HTTP proxy too: it ends TLS with a certificate of
the authority in that directory, and passes every request to this server.
"""

import datetime
import json
import re
import socketserver
import ssl
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

ACCOUNT = "111122223333"
USER = f"arn:aws:iam::{ACCOUNT}:user/me"
CREDENTIAL = re.compile(r"Credential=([^/]*)/\d{8}/([^/]*)/([^/]*)/aws4_request")


def main():
    log = open(sys.argv[1], "a")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.log, server.lock, server.used = log, threading.Lock(), set()
    ports = [server.server_port]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    if len(sys.argv) > 2:
        proxy = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Proxy)
        proxy.daemon_threads = True
        proxy.server, proxy.tls = server, certificate(Path(sys.argv[2]))
        ports.append(proxy.server_address[1])
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
    print(*ports, flush=True)
    sys.stdin.read()


def later(seconds):
    time = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=seconds)
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.handle_request()

    do_POST = do_PUT = do_HEAD = do_DELETE = do_GET

    def handle_request(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        scope = CREDENTIAL.search(self.headers.get("Authorization", ""))
        self.key, self.region, service = scope.groups() if scope else ("", "", "")
        path = urlsplit(self.path)
        try:
            params = dict(parse_qsl(body.decode(), keep_blank_values=True))
        except UnicodeDecodeError:
            params = {}
        action = params.pop("Action", path.path)
        params.pop("Version", None)
        if action == "/v1/token":
            params = json.loads(body)
        self.write({"host": self.headers["Host"], "service": service, "region": self.region,
                    "key": self.key, "action": action, "params": params,
                    "proxied": getattr(self, "proxied", False)})
        status, kind, text = self.answer(action, params)
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text.encode())

    def write(self, line):
        with self.server.lock:
            self.server.log.write(json.dumps(line) + "\n")
            self.server.log.flush()

    def answer(self, action, params):
        if action == "GetCallerIdentity":
            return xml(200, f"<GetCallerIdentityResponse><GetCallerIdentityResult><Arn>{USER}</Arn>"
                       f"<UserId>A</UserId><Account>{ACCOUNT}</Account></GetCallerIdentityResult>"
                       "</GetCallerIdentityResponse>")
        if action in ("AssumeRole", "AssumeRoleWithWebIdentity"):
            return self.assume(action, params)
        if action == "DescribeInstances":
            return xml(200, "<DescribeInstancesResponse><reservationSet/></DescribeInstancesResponse>")
        if action == "/federation/credentials":
            return self.single_sign_on()
        if action == "/v1/token":
            return self.refreshed(params)
        return xml(200, "<Empty/>")

    def assume(self, action, params):
        role = params["RoleArn"]
        name = role.rpartition("/")[2]
        if name == "refused":
            return error("AccessDenied", f"User: {USER} is not authorized to perform: "
                         f"sts:AssumeRole on resource: {role}", 403)
        if name == "expired":
            return error("ExpiredToken", "The security token included in the request is expired", 403)
        if name == "short" and int(params.get("DurationSeconds", 0)) > 3600:
            return error("ValidationError", "The requested DurationSeconds exceeds the "
                         "MaxSessionDuration set for this role.", 400)
        if name == "disabled":
            return error("RegionDisabledException", "STS is not activated in this region for "
                         f"account:{ACCOUNT}. Your account administrator can activate STS in this "
                         "region using the IAM Console.", 403)
        code = params.get("TokenCode")
        # A code works once, as on AWS.
        with self.server.lock:
            if code and (code == "000000" or code in self.server.used):
                return error("AccessDenied", "MultiFactorAuthentication failed with invalid MFA one "
                             "time pass code. ", 403)
            self.server.used.add(code)
        lasts = 60 if name == "brief" else int(params.get("DurationSeconds", 3600))
        return xml(200, f"<{action}Response><{action}Result><AssumedRoleUser><AssumedRoleId>A:B"
                   f"</AssumedRoleId><Arn>arn:aws:sts::{ACCOUNT}:assumed-role/{name}/s</Arn>"
                   f"</AssumedRoleUser><Credentials><AccessKeyId>ASIA{name.upper()}</AccessKeyId>"
                   f"<SecretAccessKey>secret-of-{name}-0123456789</SecretAccessKey><SessionToken>"
                   f"token-of-{name}-0123456789</SessionToken><Expiration>{later(lasts)}</Expiration>"
                   f"</Credentials></{action}Result></{action}Response>")

    def single_sign_on(self):
        if self.headers.get("x-amz-sso_bearer_token") != "good-token":
            return refused(401, "UnauthorizedException", "Session token not found or invalid")
        if "role_name=Nosuch" in self.path:
            return refused(403, "ForbiddenException", "No access")
        expires = datetime.datetime.now().timestamp() + 3600
        return 200, "application/json", json.dumps({"roleCredentials": {
            "accessKeyId": "ASIASSO", "secretAccessKey": "secret-of-sso-0123456789",
            "sessionToken": "token-of-sso-0123456789", "expiration": int(expires * 1000)}})

    def refreshed(self, params):
        if params.get("refreshToken") != "good-refresh":
            return 400, "application/json", json.dumps(
                {"error": "TOKEN_EXPIRED", "message": "The refresh token has expired",
                 "__type": "AccessDeniedException"})
        return 200, "application/json", json.dumps({
            "accessToken": {"accessKeyId": "ASIAREFRESHED",
                            "secretAccessKey": "secret-of-login-0123456789",
                            "sessionToken": "token-of-login-0123456789"},
            "tokenType": "aws_sigv4", "expiresIn": 900, "refreshToken": "next-refresh"})

    def log_message(self, *_):
        pass


def xml(status, text):
    return status, "text/xml", text


def error(code, message, status):
    return xml(status, f"<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>"
               f"{message}</Message></Error><RequestId>12345678-aaaa-bbbb-cccc-0123456789ab"
               "</RequestId></ErrorResponse>")


def refused(status, kind, message):
    return status, "application/json", json.dumps({"__type": kind, "message": message})


class Proxied(Handler):
    proxied = True


class Proxy(socketserver.StreamRequestHandler):
    """An HTTP proxy that sees what is inside TLS."""

    def handle(self):
        line = self.rfile.readline().decode()
        method, target, _ = line.split()
        if method != "CONNECT":
            return Rest(line.encode(), self.rfile, self.request, self.client_address,
                        self.server.server)
        while self.rfile.readline() not in (b"\r\n", b""):
            pass
        self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        try:
            inside = self.server.tls.wrap_socket(self.request, server_side=True)
        except OSError:
            return None
        return Proxied(inside, self.client_address, self.server.server)


class Rest(Proxied):
    """A request whose first line was already read."""

    def __init__(self, line, stream, *rest):
        self.first, self.stream = line, stream
        super().__init__(*rest)

    def setup(self):
        super().setup()
        self.rfile = Again(self.first, self.stream)


class Again:
    def __init__(self, first, stream):
        self.first, self.stream = first, stream

    def readline(self, *limit):
        line, self.first = self.first, b""
        return line or self.stream.readline(*limit)

    def __getattr__(self, name):
        return getattr(self.stream, name)


def certificate(directory):
    """Makes an authority, ca.pem, and returns TLS with its certificate for AWS."""
    ca, key, request, own = (directory / name for name in
                             ("ca.pem", "ca.key", "own.csr", "own.pem"))
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    openssl("req", "-x509", *curve, "-keyout", key, "-out", ca, "-days", "2",
            "-subj", "/CN=An authority of the tests")
    own_key = directory / "own.key"
    openssl("req", "-new", *curve, "-keyout", own_key, "-out", request, "-subj", "/CN=AWS")
    names = directory / "names"
    names.write_text("subjectAltName=DNS:*.eu-central-1.amazonaws.com,"
                     "DNS:*.s3.eu-central-1.amazonaws.com,DNS:*.amazonaws.com\n")
    openssl("x509", "-req", "-in", request, "-CA", ca, "-CAkey", key, "-CAcreateserial",
            "-out", own, "-days", "2", "-extfile", names)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(own, own_key)
    return tls


def openssl(*arguments):
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


main()
