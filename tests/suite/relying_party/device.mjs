// A device with openid-client: prints the code that its person is to type, waits for them, and prints what it learned.
import * as client from 'openid-client'
import { print, read } from './lines.mjs'

const settings = JSON.parse(await read())
const config = await client.discovery(new URL(settings.issuer), settings.client_id, undefined, client.None())
const started = await client.initiateDeviceAuthorization(config, { scope: settings.scope })
print(started)
try {
  const tokens = await client.pollDeviceAuthorizationGrant(config, started)
  const userinfo = await client.fetchUserInfo(config, tokens.access_token, tokens.claims().sub)
  print({ claims: tokens.claims(), userinfo, hasRefreshToken: Boolean(tokens.refresh_token) })
} catch (error) {
  print({ error: error.error })
}
process.exit(0)
