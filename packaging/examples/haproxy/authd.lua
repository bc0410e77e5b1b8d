-- Asks authd whether a request may pass: /etc/haproxy/authd.lua, loaded by haproxy.cfg.

local POLICY = "http://127.0.0.1:8080/auth/forward/shop"
local PATIENCE = 5000 -- milliseconds

-- authd sends every one of them each time.
local IDENTITY = {
  "x-auth-subject", "x-auth-name", "x-auth-scopes", "x-auth-roles", "x-auth-permissions", "x-auth-token-id",
  "x-auth-session-id",
}

-- What authd judges: the credential, and headers with which services override method or path; and whether a browser opens
-- a page, which can be sent to the sign-in. CGI and WSGI read the underscore as a hyphen.
local function concerns_authd(name)
  name = name:lower():gsub("_", "-")
  return name == "authorization" or name == "token" or name == "cookie" or name == "accept" or name == "sec-fetch-mode" or name == "x-http-method" or name == "x-original-url"
    or name == "x-rewrite-url" or name:find("method-override", 1, true) ~= nil
end

-- Every value of a header: of two, authd decides what that means.
local function values(headers, name)
  local list = {}
  for index, value in pairs(headers[name] or {}) do
    list[index + 1] = value
  end
  return list
end

core.register_action("authd", { "http-req" }, function(txn)
  local sent = txn.http:req_get_headers()
  local secure = txn.f:ssl_fc() -- a number or a boolean, by tune.lua.bool-sample-conversion
  local question = {
    ["x-forwarded-method"] = { txn.f:method() },
    ["x-forwarded-uri"] = { txn.f:url() },
    ["x-forwarded-for"] = { txn.f:src() },
    ["x-forwarded-proto"] = { (secure == 1 or secure == true) and "https" or "http" },
    ["x-forwarded-host"] = values(sent, "host"),
  }
  for name in pairs(sent) do
    if concerns_authd(name) then
      question[name] = values(sent, name)
    end
  end
  local answer = core.httpclient():get({ url = POLICY, headers = question, timeout = PATIENCE })
  if answer.status == 200 then
    for _, name in ipairs(IDENTITY) do
      local value = answer.headers[name] and answer.headers[name][0]
      if not value then
        return -- not what authd answers
      end
      txn.http:req_set_header(name, value)
    end
  end
  if answer.status == 303 then
    txn:set_var("txn.sign_in", answer.headers.location[0])
  end
  txn:set_var("txn.authd", answer.status)
end, 0)
