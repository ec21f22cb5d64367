#!/usr/bin/env node
// simulate.mjs MODULES [FILE]: writes the verdicts of an IAM simulator that others
// wrote, the npm package @cloud-copilot/iam-simulate, into a file: requests.json, or
// tests/policy/recorded.json. MODULES is the directory node_modules with it:
//
//     npm install --prefix DIR @cloud-copilot/iam-simulate
//     tests/cloud/authorization/simulate.mjs DIR/node_modules
//
// A request is allowed if each of its needs is. The needs are written by a unit test
// (BLESS=1), which compares them and its own verdicts with the file. Those of real runs
// are written by tests/policy/recorded.py.
import { readFileSync, writeFileSync } from 'node:fs'

const [modules, given] = process.argv.slice(2)
const simulator = `${modules}/@cloud-copilot/iam-simulate`
const { version } = JSON.parse(readFileSync(`${simulator}/package.json`))
const { runSimulation } = await import(new URL(`file://${simulator}/dist/esm/index.js`))
const file = given ?? new URL('requests.json', import.meta.url)
const recorded = JSON.parse(readFileSync(file))

let wrong = 0

for (const row of recorded.requests) {
  // The policies of playbooks have names.
  const policy = typeof row.policy === 'string' ? recorded.policies[row.policy] : row.policy
  for (const need of row.needs) {
    const result = await runSimulation({
      request: {
        principal: need.values['aws:principalarn'],
        action: need.action,
        resource: { resource: need.resource, accountId: need.values['aws:principalaccount'] },
        contextVariables: need.values,
      },
      identityPolicies: [{ name: 'policy', policy }],
      serviceControlPolicies: [],
      resourceControlPolicies: [],
    }, {})
    const subject = `${row.name}: ${need.action} on ${need.resource}`
    if (result.resultType === 'error') {
      console.error(`${subject}: ${JSON.stringify(result.errors)}`)
      wrong += 1
      continue
    }
    // A condition key that the action does not have is a mistake in the need.
    const results = result.results ?? [result.result]
    const ignored = new Set(results.flatMap((one) => one.ignoredContextKeys ?? []))
    if (ignored.size > 0) {
      console.error(`${subject}: no such condition keys: ${[...ignored].join(', ')}`)
      wrong += 1
    }
    need.verdict = result.overallResult
  }
}
recorded.simulator = `@cloud-copilot/iam-simulate ${version}`
writeFileSync(file, JSON.stringify(recorded, null, 1) + '\n')
process.exit(wrong > 0 ? 1 : 0)
