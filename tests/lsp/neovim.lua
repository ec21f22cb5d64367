-- Uses the language server in Neovim as a person does, and writes what came of it as
-- JSON to the file $SEEN. Loads the settings $SETTINGS, which are those of the manual.

-- Before 0.8, Neovim has only the two functions that `vim.lsp.start` calls.
if not vim.lsp.start then
  vim.lsp.start = function(config)
    local client = vim.lsp.start_client(config)
    vim.lsp.buf_attach_client(0, client)
  end
end
dofile(vim.env.SETTINGS)

local seen = {}

-- Waits until a function returns something, for at most ten seconds.
local function wait_for(what, find)
  local found
  vim.wait(10000, function()
    found = find()
    return found
  end, 20)
  seen[what] = found or "nothing after ten seconds"
end

local function attempt()
  vim.cmd("edit site.rhai")
  wait_for("diagnostics", function()
    local shown = {}
    for _, diagnostic in ipairs(vim.diagnostic.get(0)) do
      table.insert(shown, ("%d:%s"):format(diagnostic.lnum + 1, diagnostic.message))
    end
    return shown[1] and shown
  end)

  vim.api.nvim_win_set_cursor(0, { 3, 22 })
  vim.lsp.buf.hover()
  wait_for("hover", function()
    for _, window in ipairs(vim.api.nvim_list_wins()) do
      if vim.api.nvim_win_get_config(window).relative ~= "" then
        local buffer = vim.api.nvim_win_get_buf(window)
        return table.concat(vim.api.nvim_buf_get_lines(buffer, 0, -1, false), "\n")
      end
    end
  end)

  -- Completion in a line that does not compile yet.
  vim.api.nvim_buf_set_lines(0, 4, 4, false, { "print(server.publ" })
  vim.api.nvim_win_set_cursor(0, { 5, 17 })
  local position = vim.lsp.util.make_position_params()
  position.position = { line = 4, character = 17 }
  local answers = vim.lsp.buf_request_sync(0, "textDocument/completion", position, 10000)
  for _, answer in pairs(answers or {}) do
    seen.completion = {}
    for _, item in ipairs(vim.lsp.util.text_document_completion_list_to_complete_items(answer.result, "publ")) do
      table.insert(seen.completion, item.word)
    end
  end

  vim.api.nvim_win_set_cursor(0, { 4, 11 })
  vim.lsp.buf.definition()
  wait_for("definition", function()
    local name = vim.fn.fnamemodify(vim.api.nvim_buf_get_name(0), ":t")
    return name == "helpers.rhai" and name .. ":" .. vim.fn.line(".")
  end)
end

local done, problem = pcall(attempt)
seen.problem = not done and tostring(problem) or nil
local file = io.open(vim.env.SEEN, "w")
file:write(vim.fn.json_encode(seen))
file:close()
vim.cmd("qall!")
