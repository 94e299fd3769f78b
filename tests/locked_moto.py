"""moto's S3 server, one request at a time: it looks at a condition and then writes, without a lock, so that under load
two writers of one version both win. Argument: the port."""

import sys
import threading

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple

_one = threading.Lock()
_server = DomainDispatcherApplication(create_backend_app)


def answer(environ, start_response):
    """WSGI."""
    with _one:
        return list(_server(environ, start_response))


run_simple("127.0.0.1", int(sys.argv[1]), answer, threaded=True)
