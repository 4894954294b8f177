#!/bin/sh
# nginx.sh DIR PORT: nginx with its Lua module, one process, answers "Hello, world!".

cat >"$1/nginx.conf" <<END
load_module /usr/lib/nginx/modules/ndk_http_module.so;
load_module /usr/lib/nginx/modules/ngx_http_lua_module.so;
daemon off; master_process off; error_log /dev/null crit; pid nginx.pid;
events { worker_connections 1024; }
http {
    access_log off; keepalive_requests 100000000; default_type text/plain;
    server {
        listen 127.0.0.1:$2;
        location / {
            content_by_lua_block {
                ngx.header["Content-Length"] = 13
                ngx.print("Hello, world!")
            }
        }
    }
}
END
exec nginx -p "$(cd "$1" && pwd)" -e /dev/null -c nginx.conf
