"""So much of a Kubernetes API that a real kubectl runs against it: objects, a pod for each Deployment, logs, and exec by WebSocket."""
import base64
import hashlib
import json
import struct
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

# Group and version, plural, kind, short names. What is not here a cluster does not have, and kubectl says so.
RESOURCES = [
    ("v1", "pods", "Pod", ["po"]),
    ("v1", "secrets", "Secret", []),
    ("v1", "configmaps", "ConfigMap", ["cm"]),
    ("v1", "persistentvolumeclaims", "PersistentVolumeClaim", ["pvc"]),
    ("v1", "services", "Service", ["svc"]),
    ("v1", "serviceaccounts", "ServiceAccount", ["sa"]),
    ("v1", "events", "Event", ["ev"]),
    ("apps/v1", "deployments", "Deployment", ["deploy"]),
    ("policy/v1", "poddisruptionbudgets", "PodDisruptionBudget", ["pdb"]),
    ("networking.k8s.io/v1", "networkpolicies", "NetworkPolicy", ["netpol"]),
    ("cert-manager.io/v1", "certificates", "Certificate", ["cert"]),
    ("metrics.k8s.io/v1beta1", "pods", "PodMetrics", []),
]
STREAM = "v5.channel.k8s.io"


class Cluster:
    """One namespace, `default`. `logs` tells what a container said; `enter` runs a command in it: exit code, output, errors."""

    def __init__(self, logs, enter):
        self.logs, self.enter, self.objects = logs, enter, {}

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            cluster = self

            def log_message(self, *_):
                pass

            def do_GET(self):
                path, query = split(self.path)
                if path[-1:] == ["exec"] and self.headers.get("Upgrade", "").lower() == "websocket":
                    return self.stream(path[-2], query)
                if path[-1:] == ["log"]:
                    return self.answer(200, self.cluster.log(path[-2], query), "text/plain")
                self.answer(*self.cluster.get(path, query))

            def do_POST(self):
                path, _ = split(self.path)
                self.answer(*self.cluster.post(path, self.body()))

            def do_PATCH(self):
                path, _ = split(self.path)
                self.answer(*self.cluster.patch(path, json.loads(self.body())))

            def body(self):
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))

            def answer(self, status, body, kind="application/json"):
                body = body.encode() if isinstance(body, str) else json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def stream(self, pod, query):
                if STREAM not in self.headers.get("Sec-WebSocket-Protocol", "") or not self.cluster.container(pod, query):
                    return self.answer(*missing("container", pod))
                proof = hashlib.sha1(self.headers["Sec-WebSocket-Key"].encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
                self.send_response(101)
                for name, value in [("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Protocol", STREAM)]:
                    self.send_header(name, value)
                self.send_header("Sec-WebSocket-Accept", base64.b64encode(proof).decode())
                self.end_headers()
                code, output, errors = self.cluster.enter(query["command"])
                status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
                if code:
                    causes = [{"reason": "ExitCode", "message": str(code)}]
                    status |= {"status": "Failure", "reason": "NonZeroExitCode", "message": f"exit code {code}", "details": {"causes": causes}}
                for channel, said in [(1, output), (2, errors), (3, json.dumps(status).encode())]:
                    if said:
                        self.frame(2, bytes([channel]) + said)
                self.frame(8, struct.pack("!H", 1000))
                self.close_connection = True

            def frame(self, kind, payload):
                size = len(payload)
                head = struct.pack("!BB", 0x80 | kind, size) if size < 126 else struct.pack("!BBQ", 0x80 | kind, 127, size)
                self.wfile.write(head + payload)
                self.wfile.flush()

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def kubeconfig(self):
        """As `kubectl config view --raw` would show it."""
        named = lambda **said: [{"name": "test", **said}]
        return json.dumps({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": named(cluster={"server": f"http://127.0.0.1:{self.server.server_port}"}),
            "users": named(user={}),
            "contexts": named(context={"cluster": "test", "user": "test", "namespace": "default"}),
            "current-context": "test",
        })

    def add(self, thing):
        """An object as a cluster has it; a Deployment with its pod, and what the metrics server says of that."""
        plural = next((plural for group, plural, kind, _ in RESOURCES if (group, kind) == (thing["apiVersion"], thing["kind"])), None)
        if plural is None:
            return
        thing["metadata"] = {"namespace": "default", "creationTimestamp": "2026-01-01T00:00:00Z", "uid": "1", **thing["metadata"]}
        self.objects[thing["apiVersion"], plural, thing["metadata"]["name"]] = thing
        if thing["kind"] == "Deployment":
            template = thing["spec"]["template"]
            about = {"name": f"{thing['metadata']['name']}-5d4f8c7b9-x2k7p", "labels": template["metadata"]["labels"]}
            containers = [container["name"] for container in template["spec"]["containers"]]
            started = [{"name": name, "ready": True, "restartCount": 1, "state": {"running": {}}} for name in containers]
            status = {"phase": "Running", "podIP": "127.0.0.1", "conditions": [{"type": "Ready", "status": "True"}], "containerStatuses": started}
            self.add({"apiVersion": "v1", "kind": "Pod", "metadata": dict(about), "spec": template["spec"], "status": status})
            used = [{"name": name, "usage": {"cpu": "10m", "memory": "64Mi"}} for name in containers]
            measured = {"timestamp": "2026-01-01T00:00:00Z", "window": "30s", "containers": used}
            self.add({"apiVersion": "metrics.k8s.io/v1beta1", "kind": "PodMetrics", "metadata": dict(about), **measured})

    def container(self, pod, query):
        """The container that is meant, where there is one of that name."""
        found = self.objects.get(("v1", "pods", pod))
        names = [container["name"] for container in found["spec"]["containers"]] if found else []
        asked = query.get("container", names[:1])[0]
        return asked if asked in names else None

    def log(self, pod, query):
        return self.logs() if self.container(pod, query) else ""

    def get(self, path, query):
        groups = sorted({group for group, *_ in RESOURCES if "/" in group})
        if path == ["version"]:
            return 200, {"major": "1", "minor": "34", "gitVersion": "v1.34.0"}
        if path == ["api"]:
            return 200, {"kind": "APIVersions", "versions": ["v1"]}
        if path == ["apis"]:
            versions = [(group.split("/")[0], {"groupVersion": group, "version": group.split("/")[1]}) for group in groups]
            listed = [{"name": name, "versions": [version], "preferredVersion": version} for name, version in versions]
            return 200, {"kind": "APIGroupList", "apiVersion": "v1", "groups": listed}
        group, place = ("v1", path[2:]) if path[0] == "api" else ("/".join(path[1:3]), path[3:])
        if not place and path[0] in ("api", "apis"):
            verbs = ["create", "get", "list", "patch"]
            listed = [
                {"name": plural, "singularName": kind.lower(), "namespaced": True, "kind": kind, "shortNames": short, "verbs": verbs}
                for of, plural, kind, short in RESOURCES
                if of == group
            ]
            return (200, {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group, "resources": listed}) if listed else missing(group)
        kind = next((kind for of, plural, kind, _ in RESOURCES if place[:2] == ["namespaces", "default"] and (of, plural) == (group, place[2])), None)
        if kind is None:
            return missing("/".join(path))
        if len(place) == 4:
            found = self.objects.get((group, place[2], place[3]))
            return (200, found) if found else missing(place[2], place[3])
        asked = [term.split("=") for term in query.get("labelSelector", [""])[0].split(",") if term]
        chosen = [
            thing
            for (of, plural, _), thing in self.objects.items()
            if (of, plural) == (group, place[2]) and all(thing["metadata"].get("labels", {}).get(name) == value for name, value in asked)
        ]
        return 200, {"kind": f"{kind}List", "apiVersion": group, "metadata": {}, "items": chosen}

    def post(self, path, body):
        if path not in (["api", "v1", "namespaces", "default", plural] for plural in ("secrets", "configmaps")) or not body.startswith(b"k8s\0"):
            return missing("/".join(path))
        kind = "Secret" if path[-1] == "secrets" else "ConfigMap"
        fields = numbered(numbered(body[4:])[2][0])
        # Of a map's entries: key and value.
        pairs = [(numbered(entry)[1][0].decode(), numbered(entry)[2][0]) for entry in fields.get(2, [])]
        data = {name: base64.b64encode(value).decode() if kind == "Secret" else value.decode() for name, value in pairs}
        thing = {"apiVersion": "v1", "kind": kind, "metadata": {"name": numbered(fields[1][0])[1][0].decode()}, "data": data}
        self.add(thing)
        return 201, thing

    def patch(self, path, change):
        status, found = self.get(path, {})
        if status == 200:
            merge(found, change)
        return status, found


def numbered(message):
    """The fields of a protobuf message, by number, in which kubectl sends what it creates."""
    fields, at = {}, 0

    def number():
        nonlocal at
        value, shift = 0, 0
        while True:
            at += 1
            value, shift = value | (message[at - 1] & 0x7F) << shift, shift + 7
            if message[at - 1] < 0x80:
                return value

    while at < len(message):
        tag = number()
        if tag & 7 == 2:
            size = number()
            fields.setdefault(tag >> 3, []).append(message[at : at + size])
            at += size
        else:
            fields.setdefault(tag >> 3, []).append(number())
    return fields


def merge(thing, change):
    for name, value in change.items():
        if isinstance(value, dict) and isinstance(thing.get(name), dict):
            merge(thing[name], value)
        else:
            thing[name] = value


def split(target):
    target = urlsplit(target)
    return [unquote(part) for part in target.path.split("/") if part], parse_qs(target.query)


def missing(kind, name=""):
    words = f'{kind} "{name}" not found'
    return 404, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404, "message": words}

