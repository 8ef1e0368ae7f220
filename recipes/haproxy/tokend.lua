-- Asks tokend whether a request's token is good, with HAProxy's own HTTP client.
--
--   setenv TOKEND http://127.0.0.1:8470
--   lua-load tokend.lua
--   http-request lua.tokend
--
-- sets txn.tokend to the status that the client should get, and, where it is 200,
-- txn.tokend_name, txn.tokend_write and txn.tokend_rotated; txn.tokend_challenge
-- is for WWW-Authenticate. The address is an IP address: a name would need
-- resolvers. An error in here does not stop the request, so a rule must refuse
-- all but 200.

local address = os.getenv("TOKEND")
local safe = { GET = true, HEAD = true, OPTIONS = true }
local credentials = { "authorization", "x-api-key" }
local answers = {
    tokend_name = "x-token-name",
    tokend_write = "x-token-write",
    tokend_rotated = "x-token-rotated",
    tokend_challenge = "www-authenticate",
}

core.register_action("tokend", { "http-req" }, function(txn)
    txn:set_var("txn.tokend", 503)
    local client, headers = txn.http:req_get_headers(), {}
    for _, name in ipairs(credentials) do
        if client[name] then
            headers[name] = {}
            for i = 0, #client[name] do -- HAProxy counts from 0; a second one is tokend's to refuse
                table.insert(headers[name], client[name][i])
            end
        end
    end
    local path = safe[txn.sf:method()] and "/_/auth/read" or "/_/auth/write"
    local answer = core.httpclient():get{ url = address .. path, headers = headers, timeout = 2000 }
    if not answer or not answer.headers then
        return
    end
    for variable, header in pairs(answers) do
        local values = answer.headers[header]
        if values then
            txn:set_var("txn." .. variable, values[0])
        end
    end
    txn:set_var("txn.tokend", answer.status)
end, 0)
